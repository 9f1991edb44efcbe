"""LPIPS and DISTS against the published formulas, written out with weights from a recipe."""

import http.server
import math
import threading
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dereflect.downloads import sha256
from dereflect.errors import InputError, ModelError
from dereflect.evaluation import perceptual
from dereflect.evaluation.perceptual import FILES, WeightsFile, build_perceptual, load_perceptual


def recipe(key, shape, positive=False):
    """A tensor made from its key alone, keeping activations near one."""
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    draw = torch.randn(shape, generator=generator)
    if positive:
        return draw.abs()
    return draw * math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.05 * draw


# Each network as a list of steps, written down apart from the code under test.
ALEX = [
    "c3-64-11/4p2",
    "t",
    "m3",
    "c64-192-5p2",
    "t",
    "m3",
    "c192-384-3p1",
    "t",
    "c384-256-3p1",
    "t",
    "c256-256-3p1",
    "t",
]
VGG = [
    "c3-64-3p1", "r", "c64-64-3p1", "t", "P", "c64-128-3p1", "r", "c128-128-3p1", "t", "P",
    "c128-256-3p1", "r", "c256-256-3p1", "r", "c256-256-3p1", "t", "P",
    "c256-512-3p1", "r", "c512-512-3p1", "r", "c512-512-3p1", "t", "P",
    "c512-512-3p1", "r", "c512-512-3p1", "r", "c512-512-3p1", "t",
]  # fmt: skip
SQUEEZE = [
    "c3-64-3/2p0", "t", "M", "f64-16-64", "ft128-16-64", "M", "f128-32-128", "ft256-32-128", "M",
    "ft256-48-192", "ft384-48-192", "ft384-64-256", "ft512-64-256",
]  # fmt: skip


def run_steps(steps, weights, x, pool):
    taps = []
    for index, step in enumerate(steps):
        if step[0] == "c":
            rest, padding = step.rpartition("-")[2].split("p")
            stride = int(rest.split("/")[1]) if "/" in rest else 1
            key = f"features.{index}"
            x = F.conv2d(x, weights[f"{key}.weight"], weights[f"{key}.bias"], stride, int(padding))
        elif step[0] == "f":
            key = f"features.{index}"
            names = ("squeeze", "expand1x1", "expand3x3")
            part = {n: (weights[f"{key}.{n}.weight"], weights[f"{key}.{n}.bias"]) for n in names}
            x = F.relu(F.conv2d(x, *part["squeeze"]))
            wide = F.conv2d(x, *part["expand3x3"], padding=1)
            x = F.relu(torch.cat([F.conv2d(x, *part["expand1x1"]), wide], 1))
        elif step in ("r", "t"):
            x = F.relu(x)
        elif step == "M":
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        else:
            x = F.max_pool2d(x, 3, 2) if step == "m3" else pool(x)
        if step == "t" or step.startswith("ft"):
            taps.append(x)
    return taps


def backbone_weights(steps):
    weights = {}
    for index, step in enumerate(steps):
        if step[0] == "c":
            inputs, outputs, rest = step[1:].split("-")
            side = int(rest.split("p")[0].split("/")[0])
            shapes = {"": (int(outputs), int(inputs), side, side)}
        elif step[0] == "f":
            inputs, squeezed, expanded = (int(n) for n in step.lstrip("ft").split("-"))
            shapes = {
                ".squeeze": (squeezed, inputs, 1, 1),
                ".expand1x1": (expanded, squeezed, 1, 1),
                ".expand3x3": (expanded, squeezed, 3, 3),
            }
        else:
            continue
        for name, shape in shapes.items():
            for kind, size in (("weight", shape), ("bias", shape[:1])):
                key = f"features.{index}{name}.{kind}"
                weights[key] = recipe(key, size)
    return weights


def pair(height=70, width=93):
    random = np.random.default_rng(2)
    target = (
        random.uniform(size=(height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)[:height, :width]
    )
    estimate = np.clip(target + random.normal(0, 0.1, target.shape), 0, 1)
    return estimate.astype(np.float32), target.astype(np.float32)


def as_batch(picture):
    return torch.from_numpy(picture.transpose(2, 0, 1)[None].copy())


def write_weights(folder, column):
    steps = {"alex": ALEX, "vgg": VGG, "squeeze": SQUEEZE, "dists": VGG}[column.removeprefix("lpips_")]
    stack = backbone_weights(steps)
    if column == "dists":
        learned = {name: recipe(name, (1, 1475, 1, 1), positive=True) for name in ("alpha", "beta")}
    else:
        widths = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512),
                  "squeeze": (64, 128, 256, 384, 384, 512, 512)}[column.removeprefix("lpips_")]  # fmt: skip
        keys = {f"lin{level}.model.1.weight": (1, width, 1, 1) for level, width in enumerate(widths)}
        learned = {key: recipe(key, shape, positive=True) for key, shape in keys.items()}
    files = [folder / file.names[0] for file in FILES[column]]
    torch.save(learned, files[0])
    torch.save(stack | {"classifier.6.weight": torch.zeros(2, 2)}, files[1])
    return steps, stack, learned


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_lpips_is_its_formula(net, tmp_path):
    steps, stack, learned = write_weights(tmp_path, f"lpips_{net}")
    measures, absent = load_perceptual([f"lpips_{net}"], tmp_path)
    assert not absent
    estimate, target = pair()
    features = []
    for picture in (estimate, target):
        values = 2 * picture.astype(np.float64) - 1
        values = (values - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        taps = run_steps(steps, stack, as_batch(values.astype(np.float32)), lambda x: F.max_pool2d(x, 2, 2))
        features.append([tap[0].double().numpy() for tap in taps])
    expected = 0.0
    for level, (x, y) in enumerate(zip(*features, strict=True)):
        weight = learned[f"lin{level}.model.1.weight"].flatten().double().numpy()
        distances = []
        for row in range(x.shape[1]):
            for column in range(x.shape[2]):
                a, b = x[:, row, column], y[:, row, column]
                a, b = a / (np.linalg.norm(a) + 1e-10), b / (np.linalg.norm(b) + 1e-10)
                distances.append((weight * (a - b) ** 2).sum())
        expected += np.mean(distances)
    assert expected > 0.01
    measure = measures[f"lpips_{net}"]
    assert measure(estimate, target) == pytest.approx(expected, rel=1e-4)
    assert measure(target, target) == 0


def test_dists_is_its_formula(tmp_path):
    steps, stack, learned = write_weights(tmp_path, "dists")
    estimate, target = pair()

    def pool(x):
        hanning = np.hanning(5)[1:-1]
        window = torch.tensor(
            np.outer(hanning, hanning) / np.outer(hanning, hanning).sum(), dtype=torch.float32
        )
        squares = [F.conv2d(c[:, None] ** 2, window[None, None], stride=2, padding=1) for c in x.unbind(1)]
        return torch.sqrt(torch.cat(squares, 1) + 1e-12)

    features = []
    for picture in (estimate, target):
        values = ((picture - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).astype(np.float32)
        taps = [as_batch(picture), *run_steps(steps, stack, as_batch(values), pool)]
        features.append(np.concatenate([tap[0].flatten(1).double().numpy().mean(1) for tap in taps]).tolist())
        features.append([channel.flatten().double().numpy() for tap in taps for channel in tap[0]])
    (mx, xs, my, ys), alpha, beta = (
        features,
        learned["alpha"].flatten().double(),
        learned["beta"].flatten().double(),
    )
    total = float(alpha.sum() + beta.sum())
    score = 0.0
    for j in range(1475):
        a, b = mx[j], my[j]
        va, vb = ((xs[j] - a) ** 2).mean(), ((ys[j] - b) ** 2).mean()
        covariance = ((xs[j] - a) * (ys[j] - b)).mean()
        score += float(alpha[j]) / total * (2 * a * b + 1e-6) / (a * a + b * b + 1e-6)
        score += float(beta[j]) / total * (2 * covariance + 1e-6) / (va + vb + 1e-6)
    measure = load_perceptual(["dists"], tmp_path)[0]["dists"]
    assert 1 - score > 0.01
    assert measure(estimate, target) == pytest.approx(1 - score, rel=1e-3)
    assert measure(target, target) == pytest.approx(0, abs=1e-5)


def test_without_weights_a_measure_is_absent_with_the_reason(tmp_path):
    measures, absent = load_perceptual(["psnr", "lpips_alex", "dists"], tmp_path)
    assert measures == {}
    assert set(absent) == {"lpips_alex", "dists"}
    assert "lpips_alex.pth or alex.pth is not in" in absent["lpips_alex"]


def test_weights_of_another_network_and_small_pictures_are_refused(tmp_path):
    write_weights(tmp_path, "lpips_alex")
    learned, stack = (tmp_path / file.names[0] for file in FILES["lpips_alex"])
    with pytest.raises(ModelError, match="do not fit"):
        build_perceptual("lpips_vgg", learned, stack)
    measure = load_perceptual(["lpips_alex"], tmp_path)[0]["lpips_alex"]
    with pytest.raises(InputError, match="32x32"):
        measure(*(picture[:20] for picture in pair()))


def test_a_download_is_kept_only_with_the_right_checksum(tmp_path, monkeypatch):
    write_weights(tmp_path, "lpips_squeeze")
    content = (tmp_path / "lpips_squeeze.pth").read_bytes()

    class Offer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Offer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/squeeze.pth"
        backbone = FILES["lpips_squeeze"][1]
        target = tmp_path / "cache"
        target.mkdir()
        (tmp_path / backbone.names[0]).rename(target / backbone.names[0])
        wrong = WeightsFile(("lpips_squeeze.pth",), url, "0" * 64)
        monkeypatch.setitem(perceptual.FILES, "lpips_squeeze", (wrong, backbone))
        with pytest.raises(ModelError, match="wrong checksum"):
            load_perceptual(["lpips_squeeze"], target, fetch=True)
        assert [path.name for path in target.iterdir()] == [backbone.names[0]]
        right = WeightsFile(("lpips_squeeze.pth",), url, sha256(tmp_path / "lpips_squeeze.pth"))
        monkeypatch.setitem(perceptual.FILES, "lpips_squeeze", (right, backbone))
        assert "lpips_squeeze" in load_perceptual(["lpips_squeeze"], target, fetch=True)[0]
    finally:
        server.shutdown()
        server.server_close()
