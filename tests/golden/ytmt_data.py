"""Golden checks of YTMT's metrics, sizes and synthesis; `test_ytmt.py` runs them."""

import numpy as np
import torch
from fixtures import GoldenFile
from PIL import Image
from torch import Tensor

from dereflect.data.augment import align_size, scale_side, scaled_size
from dereflect.data.synthesis import ceilnet, zhang
from dereflect.data.synthesis.kernels import gaussian_taps
from dereflect.evaluation import metrics


def check_metrics(file: GoldenFile) -> None:
    for case in file.groups():
        pair = [file.take(f"{case}.{name}")[0].permute(1, 2, 0) for name in ("estimate", "target")]
        estimate, target = (np.clip(picture.numpy(), 0, 1) * np.float32(255) for picture in pair)
        expected = {
            "PSNR": metrics.psnr_per_channel(estimate, target),
            "SSIM": metrics.ssim(estimate, target),
            "LMSE": metrics.lmse(estimate, target),
            "NCC": metrics.ncc(estimate, target),
        }
        for name, value in expected.items():
            file.compare(f"{case}.{name}_f64", torch.tensor(value, dtype=torch.float64), atol=1e-5)
        for name, measure in (("psnr", metrics.psnr), ("ssim", metrics.ssim)):
            values = torch.tensor(metrics.channelwise(measure, estimate, target), dtype=torch.float64)
            file.compare(f"{case}.{name}_per_channel_f64", values, atol=1e-5)
        file.compare(f"{case}.saved_uint8", torch.from_numpy(estimate.astype(np.uint8)))


def check_geometry(file: GoldenFile) -> None:
    rows = file.take("scale_short_side.ow_oh_target_w_h").tolist()
    assert rows
    for width, height, target, *expected in rows:
        assert list(scaled_size(width, height, target, by_height=width >= height)) == expected
    for match in file.matching(r"(align\.\d+)\.in"):
        picture = Image.fromarray(file.take(match[0]).numpy())
        file.compare(f"{match[1]}.out", pixels(align_size(picture, picture.size)))
    picture = Image.fromarray(file.take("bicubic.in").numpy())
    landscape = picture.width >= picture.height
    height, width, _ = file.take("bicubic.out").shape
    scaled = scale_side(picture, height if landscape else width, by_height=landscape)
    file.compare("bicubic.out", pixels(scaled))


def pixels(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(picture).copy())


def check_synthesis(file: GoldenFile) -> None:
    for case in sorted({f"{m[1]}.{m[2]}" for m in file.matching(r"(ceil|zhang)\.(\w+)\.B")}):
        T, R = (file.take(f"{case}.{name}").numpy().astype(np.float32) / np.float32(255) for name in "BR")
        if case.startswith("ceil"):
            sigma, gamma = file.take(f"{case}.sigma_gamma_f64").tolist()
            taps = file.take(f"{case}.kernel1d_f64")
            assert torch.equal(taps, taps.flip(0))
            size = taps.numel()
            file.compare(f"{case}.kernel1d_f64", torch.from_numpy(gaussian_taps(size, sigma)), atol=1e-6)
            made = ceilnet.mix(T, R, ceilnet.Draws(size, sigma, gamma))
        else:
            sigma, darkening, right, down, scale = file.take(f"{case}.draws_f64").tolist()
            made = zhang.mix(T, R, zhang.Draws(sigma, darkening, int(right), int(down), scale))
        for name, picture in (("M", made.blended), ("T", made.transmission), ("R", made.reflection)):
            file.compare(f"{case}.out_{name}", torch.from_numpy(picture), atol=1e-6)
