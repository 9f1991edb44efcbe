"""Pictures of high dynamic range (PQ and HLG) to the range of ordinary ones, by curves of the ITU.

White of an ordinary picture is the reference white of ITU-R BT.2408, 203 cd/m2. What is brighter is rolled
off by the curve of ITU-R BT.2390, on the brightest of red, green and blue, so that hues stay.
"""

from __future__ import annotations

import numpy as np

from dereflect.images.picture import Array, white
from dereflect.images.profiles import HLG, Tagged

REFERENCE_WHITE, _NOMINAL_PEAK = 203.0, 1000.0
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_ROWS = 256


def tone_mapped(pixels: Array, tagged: Tagged) -> Array:
    """(H, W) or (H, W, 3) in PQ or HLG to the curve of sRGB; primaries and dtype stay."""
    largest = white(pixels.dtype)
    peak = REFERENCE_WHITE
    for start in range(0, len(pixels), _ROWS):
        peak = max(peak, float(_light(pixels[start : start + _ROWS], tagged, largest).max(initial=0)))
    found = np.empty_like(pixels)
    for start in range(0, len(pixels), _ROWS):
        light = _light(pixels[start : start + _ROWS], tagged, largest)
        brightest = light if light.ndim == 2 else light.max(axis=-1, keepdims=True)
        gain = _rolled_off(brightest, peak) / np.maximum(brightest, 1e-6)
        linear = np.clip(light * gain / REFERENCE_WHITE, 0, 1)
        encoded = np.where(
            linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
        )
        found[start : start + _ROWS] = np.rint(encoded * largest).astype(pixels.dtype)
    return found


def _light(pixels: Array, tagged: Tagged, largest: float) -> Array:
    """cd/m2 on a display: of 10,000 at most (PQ), or of 1,000 (HLG, whose system gamma is then 1.2)."""
    signal = pixels.astype(np.float64) / largest
    if tagged.transfer == HLG:
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)
        luma = scene if scene.ndim == 2 else (scene @ np.array([0.2627, 0.6780, 0.0593]))[..., None]
        return _NOMINAL_PEAK * np.maximum(luma, 1e-9) ** 0.2 * scene
    return _from_pq(signal)


def _from_pq(signal: Array) -> Array:
    root = np.maximum(signal, 0) ** (1 / _M2)
    return 1e4 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _to_pq(light: Array) -> Array:
    power = (np.maximum(light, 0) / 1e4) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _rolled_off(light: Array, peak: float) -> Array:
    """BT.2390's curve from a display of `peak` cd/m2 to one of reference white."""
    top = float(_to_pq(np.array(peak)))
    target = float(_to_pq(np.array(REFERENCE_WHITE))) / top
    if target >= 1:
        return light
    value = _to_pq(light) / top
    knee = 1.5 * target - 0.5
    t = np.clip((value - knee) / (1 - knee), 0, 1)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * target
    )
    return _from_pq(np.where(value < knee, value, bent) * top)
