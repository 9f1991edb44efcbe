"""What DMDNet's training script logs, which is not what its offline evaluation measures."""

import numpy as np

from dereflect.evaluation import metrics


def measure_online(estimate, target):
    """PSNR and SSIM of floats by channel, and on studio-range luma of 8 bit.

    They differ from the offline ones by 0.05 to 0.3 dB (RGB) and 1.3 dB (luma).

    Args:
        estimate: (H, W, 3) in 0..255, not clipped and not rounded.
        target: the same, or 8 bit.
    """
    luma_x, luma_y = (studio_luma(picture.astype(np.uint8)) for picture in (estimate, target))
    return {
        "psnr": metrics.psnr_per_channel(estimate, target),
        "ssim": metrics.ssim(estimate, target),
        "psnr_y": metrics.psnr(luma_x, luma_y),
        "ssim_y": metrics.ssim(luma_x, luma_y),
    }


def studio_luma(picture):
    """Luma as scikit-image's ``rgb2ycbcr`` has it (16..235, not rounded)."""
    red, green, blue = (picture[..., c].astype(np.float64) / 255 for c in range(3))
    return 16 + 65.481 * red + 128.553 * green + 24.966 * blue
