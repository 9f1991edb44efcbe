"""Options that several verbs share, each declared once: same name, same meaning, same help everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dereflect.errors import InputError
from dereflect.limits import DEFAULT_MAX_PIXELS

if TYPE_CHECKING:
    from dereflect.separator import Separator

MODEL, RESULT, FILES = "Model", "Result", "Files"
"""Panels of the help."""
MODEL_WORDS = "NAME|FOLDER|FILE"


class DeviceChoice(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class DTypeChoice(StrEnum):
    """What to compute in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class QualityChoice(StrEnum):
    """How much work to spend on one picture."""

    fast = "fast"
    best = "best"


class LayerChoice(StrEnum):
    """Which layers to write."""

    both = "both"
    transmission = "transmission"
    reflection = "reflection"


class RawChoice(StrEnum):
    """Which file to take of a photo that lies there raw and as JPEG."""

    prefer = "prefer"
    skip = "skip"
    both = "both"


class RawSpaceChoice(StrEnum):
    """In which colour space to develop raw files."""

    srgb = "srgb"
    p3 = "p3"
    adobe = "adobe"
    rec2020 = "rec2020"
    prophoto = "prophoto"


class FormatChoice(StrEnum):
    """What to write pictures as."""

    keep = "keep"
    png = "png"
    jpg = "jpg"
    tiff = "tiff"
    webp = "webp"


DeviceOption = Annotated[
    DeviceChoice, typer.Option("--device", help="Where to compute.", rich_help_panel=MODEL)
]


def dtype_option(help: str, panel: str | None = MODEL) -> Any:
    """``--dtype``, the number format that a network computes in, in a panel of the help."""
    return typer.Option("--dtype", help=help, rich_help_panel=panel)


DTypeOption = Annotated[
    DTypeChoice,
    dtype_option("Number format of the network; auto takes bfloat16 where the processor has it."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the model's own, listed by `dereflect models show`; may be given several times.",
        rich_help_panel=MODEL,
    ),
]
RawOption = Annotated[
    RawChoice,
    typer.Option(
        "--raw",
        help="Of a photo that a folder holds raw and as JPEG or HEIC: prefer takes the raw file, both takes "
        "both; skip takes no raw file at all.",
        rich_help_panel=FILES,
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that are there already.", rich_help_panel=FILES)
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do only every N-th photo, beginning with the I-th: one job of N.",
        rich_help_panel=FILES,
    ),
]
StrengthOption = Annotated[
    float,
    typer.Option(
        "--strength",
        metavar="NUMBER",
        min=-1.0,
        max=1.0,
        help="How much of the reflection to take away: 1 all, 0 nothing; -1 shows only the reflection.",
        rich_help_panel=RESULT,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One line of JSON a photo on standard output.")]
VerboseOption = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        help="Print more: notes, and where what failed did so.",
        show_default=False,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def models_option(without: str, more: str = "") -> Any:
    """``--model`` of verbs that take several.

    Args:
        without: what the verb takes if none is given.
        more: what else there is to say.
    """
    return typer.Option(
        "--model",
        "-m",
        metavar=MODEL_WORDS,
        help="A name from `dereflect models`, a model folder, a checkpoint file, or a hub id; may be given "
        f"several times{more}. Without, {without}.",
        show_default=False,
        rich_help_panel=MODEL,
    )


def max_pixels_option(panel: str) -> Any:
    """``--max-pixels`` in a panel of the help."""
    return typer.Option(
        "--max-pixels",
        metavar="NUMBER",
        min=1,
        help="Refuse photos of more pixels (width times height), before decoding them.",
        rich_help_panel=panel,
    )


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it runs."""

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar=MODEL_WORDS,
            help="A name from `dereflect models`, a model folder, a checkpoint file, or a hub id; best takes "
            "the best model that is on this disk and fits the memory, and fetches nothing.",
            rich_help_panel=MODEL,
        ),
    ] = "default"
    settings: SetOption = None
    quality: Annotated[
        QualityChoice,
        typer.Option(
            "--quality",
            help="best also runs mirrored and resized copies and averages them: three times the work.",
            rich_help_panel=MODEL,
        ),
    ] = QualityChoice.fast
    device: DeviceOption = DeviceChoice.auto
    dtype: DTypeOption = DTypeChoice.auto
    max_size: Annotated[
        int | None,
        typer.Option(
            "--max-size",
            metavar="PIXELS",
            min=1,
            help="Longest side that the network may see; outputs keep the photo's size.",
            rich_help_panel=MODEL,
        ),
    ] = None
    tile: Annotated[
        str,
        typer.Option(
            "--tile",
            metavar="auto|off|N",
            help="auto picks by size and memory; off runs the photo as a whole; N cuts tiles of N pixels.",
            rich_help_panel=MODEL,
        ),
    ] = "auto"
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="NUMBER",
            min=0,
            help="Seed of stochastic methods: same seed, same result.",
            rich_help_panel=MODEL,
        ),
    ] = 0

    def of_method(self) -> dict[str, str]:
        """Settings of the method's own.

        Raises:
            InputError: as `parse_settings`.
        """
        return parse_settings(self.settings)

    def of_separator(self) -> dict[str, Any]:
        """Arguments of a `Separator`."""
        return {
            "device": self.device.value,
            "dtype": self.dtype.value,
            "quality": self.quality.value,
            "max_size": self.max_size,
            "tile": int(self.tile) if self.tile.isdecimal() else self.tile,
            "seed": self.seed,
        }

    def load(self, **settings: Any) -> Separator:
        """Load the model; `settings` are more of the `Separator`'s."""
        from dereflect.separator import load

        return load(self.model, options=self.of_method(), **settings, **self.of_separator())


@dataclass(frozen=True)
class ResultOptions:
    """What to write of each photo."""

    strength: StrengthOption = 1.0
    layers: Annotated[
        LayerChoice | None,
        typer.Option(
            "--layers", help="What to write; without, both.", show_default=False, rich_help_panel=RESULT
        ),
    ] = None
    format: Annotated[
        FormatChoice,
        typer.Option(
            "--format",
            help="File format to write; keep takes the photo's own, and TIFF of 16 bits for raw files.",
            rich_help_panel=RESULT,
        ),
    ] = FormatChoice.keep
    strip_metadata: Annotated[
        bool,
        typer.Option(
            "--strip-metadata",
            help="Write no EXIF, XMP or resolution (the colour profile stays: colours need it).",
            rich_help_panel=RESULT,
        ),
    ] = False
    raw: RawOption = RawChoice.prefer
    raw_space: Annotated[
        RawSpaceChoice,
        typer.Option(
            "--raw-space",
            help="Colour space in which cameras' raw files are developed and written.",
            rich_help_panel=RESULT,
        ),
    ] = RawSpaceChoice.srgb
    max_pixels: Annotated[int, max_pixels_option(FILES)] = DEFAULT_MAX_PIXELS

    def of_reading(self) -> dict[str, Any]:
        """Settings of how photos are read."""
        return {"max_pixels": self.max_pixels, "raw_space": self.raw_space.value}

    def of_job(self) -> dict[str, Any]:
        """Settings of a batch."""
        return {
            "strength": self.strength,
            "layers": (self.layers or LayerChoice.both).value,
            "format": self.format.value,
            "metadata": not self.strip_metadata,
            "raw": self.raw.value,
            **self.of_reading(),
        }


def parse_settings(pairs: Iterable[str] | None) -> dict[str, str]:
    """Turn the values of ``--set key=value`` into a dictionary.

    Raises:
        InputError: a value without ``=`` or with nothing before it, or a key given twice.
    """
    settings: dict[str, str] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(pair, "write it as key=value", option="set")
        if key in settings:
            raise InputError(None, "given twice", setting=key)
        settings[key] = value.strip()
    return settings
