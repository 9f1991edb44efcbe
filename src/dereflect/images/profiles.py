"""ICC profiles made of tags: of primaries and curves that a file names by numbers and not by a profile."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from dereflect.errors import UNNAMED, InputError
from dereflect.images.picture import Array

D65, _D50 = (0.3127, 0.3290), (0.9642, 1.0, 0.82491)
_C = (0.310, 0.316)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
PQ, HLG, LINEAR, SRGB_CURVE = 16, 18, 8, 13

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue."""

PRIMARIES: dict[int, Chromaticities] = {
    1: (*D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    10: (1 / 3, 1 / 3, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
"""By their numbers in ITU-T H.273; red, green and blue after white."""

ADOBE_RGB: Chromaticities = (*D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
ADOBE_GAMMA = 563 / 256
PROPHOTO_RGB: Chromaticities = (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001)
PROPHOTO_GAMMA = 1.8

REC709_PARAMETERS = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
SRGB_PARAMETERS = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_SMPTE240 = (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4.0, 0.0913)
_CURVES: dict[int, float | tuple[float, ...]] = {
    **dict.fromkeys((1, 6, 11, 12, 14, 15), REC709_PARAMETERS),
    **{4: 2.2, 5: 2.8, 7: _SMPTE240, LINEAR: 1.0, SRGB_CURVE: SRGB_PARAMETERS, 17: 2.6},
}

Curve = float | tuple[float, ...] | Array
"""A power; (g, a, b, c, d) of ((a x + b) ^ g from d on, c x below); or a table of uint16 from 0 to white."""


@dataclass(frozen=True)
class Tagged:
    """Colours that a file tells by numbers: primaries and transfer as in ITU-T H.273."""

    primaries: int
    transfer: int

    @property
    def high_dynamic_range(self) -> bool:
        """Whether white is not the largest number."""
        return self.transfer in (PQ, HLG)

    @property
    def chromaticities(self) -> Chromaticities:
        """Of its primaries; those of sRGB where the file leaves them open."""
        if self.primaries not in PRIMARIES and self.primaries not in (0, 2, 3):
            raise InputError(
                UNNAMED, f"has colours of an unknown kind (primaries {self.primaries}); convert it to sRGB"
            )
        return PRIMARIES.get(self.primaries, PRIMARIES[1])

    def profile(self, grey: bool = False) -> bytes | None:
        """An ICC profile of these colours; None where they are sRGB, or left open.

        Raises:
            InputError: numbers that stand for nothing known.
        """
        transfer = SRGB_CURVE if self.transfer in (0, 2, 3) else self.transfer
        if transfer not in _CURVES:
            raise InputError(
                UNNAMED, f"has colours of an unknown kind (transfer {self.transfer}); convert it to sRGB"
            )
        if transfer == SRGB_CURVE and (grey or self.chromaticities == PRIMARIES[1]):
            return None
        name = f"H.273 primaries {self.primaries}, transfer {self.transfer}"
        curve = _CURVES[transfer]
        return grey_profile(name, curve) if grey else rgb_profile(name, self.chromaticities, curve)


def srgb_curve_profile(chromaticities: Chromaticities) -> bytes | None:
    """Of primaries with the curve of sRGB; None for sRGB itself."""
    if chromaticities == PRIMARIES[1]:
        return None
    return rgb_profile("sRGB curve with the file's primaries", chromaticities, SRGB_PARAMETERS)


def from_gamma(gamma: float | None, chromaticities: tuple[float, ...] | None, grey: bool) -> bytes | None:
    """A profile of what PNG says in gAMA and cHRM; None where that is sRGB to the eye, or nonsense.

    Args:
        gamma: exponent of encoding, e.g. 0.45455.
        chromaticities: of white, red, green and blue.
        grey: whether the picture is grey.
    """
    if gamma is not None and not 0.05 <= gamma <= 5:
        gamma = None
    srgb = PRIMARIES[1]
    points = srgb
    if chromaticities is not None and len(chromaticities) == 8 and _is_sound(chromaticities):
        points = (*chromaticities[:7], chromaticities[7])
    usual_gamma = gamma is None or abs(gamma - 1 / 2.2) < 0.01
    usual_points = grey or max(abs(a - b) for a, b in zip(points, srgb, strict=True)) < 0.004
    if usual_gamma and usual_points:
        return None
    curve: Curve = SRGB_PARAMETERS if gamma is None else 1 / gamma
    name = f"from gamma {gamma or 0.45455:.5f} and chromaticities"
    return grey_profile(name, curve) if grey else rgb_profile(name, points, curve)


def rgb_profile(
    name: str, chromaticities: Chromaticities, curve: Curve | tuple[Array, Array, Array]
) -> bytes:
    """An ICC profile of an RGB space.

    Args:
        name: its description.
        chromaticities: of white, red, green and blue.
        curve: from encoded to linear values; three tables where the colours differ.
    """
    white = _xyz(*chromaticities[:2])
    columns = np.array([_xyz(*chromaticities[start : start + 2]) for start in (2, 4, 6)]).T
    adapted = _adaptation(white)
    matrix = adapted @ (columns * np.linalg.solve(columns, white))
    several = isinstance(curve, tuple) and isinstance(curve[0], np.ndarray)
    curves = [_curve(part) for part in curve] if several else [_curve(curve)] * 3  # type: ignore[union-attr,arg-type]
    tags = [(f"{colour}XYZ".encode(), _xyz_tag(matrix[:, index])) for index, colour in enumerate("rgb")]
    tags += [(f"{colour}TRC".encode(), curves[index]) for index, colour in enumerate("rgb")]
    return _profile(name, b"RGB ", [*tags, (b"chad", b"sf32\0\0\0\0" + _fixed(adapted.ravel()))])


def grey_profile(name: str, curve: Curve) -> bytes:
    """An ICC profile of a grey space; see `rgb_profile`."""
    return _profile(name, b"GRAY", [(b"kTRC", _curve(curve))])


def _is_sound(chromaticities: tuple[float, ...]) -> bool:
    """Whether they span a triangle, so that every colour has its numbers."""
    if min(chromaticities) < 0 or max(chromaticities) > 1 or 0 in chromaticities[1::2]:
        return False
    columns = np.array([_xyz(*chromaticities[start : start + 2]) for start in (2, 4, 6)]).T
    return abs(np.linalg.det(columns)) > 1e-3


def _xyz(x: float, y: float) -> Array:
    y = max(y, 1e-9)
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adaptation(white: Array) -> Array:
    """From colours under `white` to colours under D50 (Bradford)."""
    ratio = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ np.diag(ratio) @ _BRADFORD


def _fixed(values: Array) -> bytes:
    return np.rint(np.asarray(values, np.float64) * 65536).astype(">i4").tobytes()


def _xyz_tag(values: Array) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _curve(curve: Curve) -> bytes:
    if isinstance(curve, tuple):
        return b"para\0\0\0\0\0\x03\0\0" + _fixed(np.array(curve))
    if isinstance(curve, np.ndarray):
        return b"curv\0\0\0\0" + struct.pack(">L", len(curve)) + curve.astype(">u2").tobytes()
    return b"para\0\0\0\0\0\0\0\0" + _fixed(np.array([curve]))


def _text(words: str) -> bytes:
    content = words.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">LL2s2sLL", 1, 12, b"en", b"US", len(content), 28) + content


def _profile(name: str, space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    tags = [
        (b"desc", _text(name)),
        (b"cprt", _text("No copyright")),
        (b"wtpt", _xyz_tag(np.array(_D50))),
        *tags,
    ]
    place, table, body = 132 + 12 * len(tags), b"", b""
    known: dict[bytes, int] = {}
    for key, content in tags:
        if content not in known:
            known[content] = place + len(body)
            body += content + b"\0" * (-len(content) % 4)
        table += key + struct.pack(">LL", known[content], len(content))
    header = struct.pack(">L4sL4s4s4s", place + len(body), b"\0\0\0\0", 0x04300000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s4s", 2026, 1, 1, 0, 0, 0, b"acsp", b"\0\0\0\0")
    header += bytes(20) + struct.pack(">L", 1) + _fixed(np.array(_D50))
    return header + bytes(128 - len(header)) + struct.pack(">L", len(tags)) + table + body
