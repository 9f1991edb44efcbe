"""Raw files of cameras, developed by LibRaw (extra ``raw``)."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np

from dereflect.errors import UNNAMED, InputError, MissingExtra, first_line
from dereflect.images.containers import DEVELOP
from dereflect.images.ifd import Structure
from dereflect.images.metadata import mark_uncalibrated
from dereflect.images.picture import Array, Metadata
from dereflect.images.profiles import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    PRIMARIES,
    PROPHOTO_GAMMA,
    PROPHOTO_RGB,
    REC709_PARAMETERS,
    SRGB_PARAMETERS,
    Chromaticities,
    Curve,
    rgb_profile,
)

_DNG_VERSION, _SUB_FOLDERS = 50706, 330
_ORIENTATIONS = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
"""LibRaw's turns (bits: 1 left and right, 2 top and bottom, 4 the diagonal) as EXIF numbers them."""


_EMPTY_ROWS = 8


@dataclass(frozen=True)
class RawSpace:
    """A colour space to develop to.

    Attributes:
        title: description of its profile.
        libraw: LibRaw's name of it.
        chromaticities: of white, red, green and blue.
        curve: from encoded to linear values.
        gamma: the same curve backwards, as LibRaw takes it: a power, and the slope at black.
    """

    title: str
    libraw: str
    chromaticities: Chromaticities
    curve: Curve
    gamma: tuple[float, float]

    def profile(self) -> bytes:
        """Its ICC profile."""
        return rgb_profile(self.title, self.chromaticities, self.curve)


SPACES = {
    "srgb": RawSpace("sRGB", "sRGB", PRIMARIES[1], SRGB_PARAMETERS, (2.4, 12.92)),
    "p3": RawSpace("Display P3", "P3D65", PRIMARIES[12], SRGB_PARAMETERS, (2.4, 12.92)),
    "adobe": RawSpace("Adobe RGB (1998)", "Adobe", ADOBE_RGB, ADOBE_GAMMA, (ADOBE_GAMMA, 0.0)),
    "rec2020": RawSpace("Rec. 2020", "Rec2020", PRIMARIES[9], REC709_PARAMETERS, (1 / 0.45, 4.5)),
    "prophoto": RawSpace("ProPhoto RGB", "ProPhoto", PROPHOTO_RGB, PROPHOTO_GAMMA, (PROPHOTO_GAMMA, 0.0)),
}
"""Names of the option ``raw_space``."""


@dataclass(frozen=True)
class RawFile:
    """A raw file that LibRaw has opened, and not yet developed.

    Attributes:
        handle: LibRaw's.
        width, height: of the developed picture, before it is turned upright.
        orientation: that it still needs, as EXIF numbers it.
    """

    handle: Any
    width: int
    height: int
    orientation: int

    def develop(self, known: Metadata, space: str = "srgb") -> tuple[Array, Metadata, list[str]]:
        """Develop to (H, W, 3) uint16, or (H, W, 1) of a sensor without colours; not turned.

        The white balance is the camera's, and the exposure as it was shot: nothing is brightened.

        Args:
            known: the file's metadata, which comes back with the profile of the space.
            space: a name in `SPACES`.

        Returns:
            Pixels, metadata, and what a person should know of them.

        Raises:
            InputError: a space that is unknown, or damaged pixels.
        """
        import rawpy

        wanted = space_of(space)
        try:
            values: Array = self.handle.postprocess(
                use_camera_wb=True,
                output_color=getattr(rawpy.ColorSpace, wanted.libraw),
                gamma=wanted.gamma,
                output_bps=16,
                no_auto_bright=True,
                user_flip=0,
            )
            notes = self._notes()
        except rawpy.LibRawError as error:
            raise InputError(UNNAMED, f"damaged picture ({_said(error)})") from error
        exif = known.exif if space == "srgb" or not known.exif else mark_uncalibrated(known.exif)
        known = replace(known, exif=exif, icc=wanted.profile())
        return np.ascontiguousarray(values if values.ndim == 3 else values[..., None]), known, notes

    def shot(self) -> tuple[Any, Any]:
        """What LibRaw knows of the exposure, and of the lens; it unpacks the pixels first.

        Raises:
            InputError: they are damaged.
        """
        import rawpy

        try:
            return self.handle.other, self.handle.lens
        except rawpy.LibRawError as error:
            raise InputError(UNNAMED, f"damaged picture ({_said(error)})") from error

    def _notes(self) -> list[str]:
        import rawpy

        notes = []
        if self.handle.num_colors > 1 and min(self.handle.camera_whitebalance[:3]) <= 0:
            notes.append("states no white balance of the camera; that of daylight was taken")
        # LibRaw leaves at zero what a file lacks, where a sensor has noise.
        mosaic = self.handle.raw_type == rawpy.RawType.Flat
        if mosaic and not self.handle.raw_image_visible[-_EMPTY_ROWS:].any():
            notes.append("its last rows are empty; the file may be cut off")
        return notes


def space_of(name: str) -> RawSpace:
    """A space by its name.

    Raises:
        InputError: there is none of this name.
    """
    if name not in SPACES:
        raise InputError(name, f"unknown; one of {', '.join(SPACES)}", option="raw_space")
    return SPACES[name]


def is_here() -> bool:
    """Whether raw files can be developed: the extra ``raw`` is installed."""
    return importlib.util.find_spec("rawpy") is not None


def missing() -> MissingExtra:
    """The error where they cannot."""
    return MissingExtra("rawpy", "raw", "a raw file of a camera")


def open_raw(file: BinaryIO) -> RawFile:
    """Open a raw file and read its header.

    Args:
        file: it, which can be searched.

    Raises:
        MissingExtra: LibRaw is not here.
        InputError: LibRaw cannot read it.
    """
    try:
        import rawpy
    except ImportError as error:
        raise missing() from error
    file.seek(0)
    try:
        handle = rawpy.imread(file)
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        reason = f"is a raw file of a camera that LibRaw cannot read ({_said(error)}); {DEVELOP}"
        raise InputError(UNNAMED, reason) from error
    sizes = handle.sizes
    return RawFile(handle, sizes.iwidth, sizes.iheight, _ORIENTATIONS.get(sizes.flip, 1))


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else first_line(error)


def refuse_cut_dng(file: BinaryIO) -> None:
    """Refuse a DNG whose pixels end beyond the file, before LibRaw says so on the terminal.

    Other makers' files are left to LibRaw: not all of them mean what TIFF means by its addresses.

    Raises:
        InputError: it is cut off.
    """
    try:
        structure = Structure(file)
    except ValueError:
        return
    first = structure.directory(structure.first)
    if first.get(_DNG_VERSION) is None:
        return
    below = structure.whole_numbers(first.get(_SUB_FOLDERS))
    for directory in [first, *(structure.directory(address) for address in below[:64])]:
        for offsets, counts in ((273, 279), (324, 325)):
            places, sizes = (structure.whole_numbers(directory.get(tag)) for tag in (offsets, counts))
            if any(place + size > structure.size for place, size in zip(places, sizes, strict=False)):
                raise InputError(UNNAMED, "damaged picture: it is cut off; get an undamaged copy")
