"""What an ONNX file of ours says of itself: text by key, as the format's ``metadata_props`` hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dereflect.errors import ModelError
from dereflect.methods.contract import Traits

PREFIX = "dereflect."
"""Of every key."""
FORMAT = "1"
"""Of names, shapes, ranges and keys; a file of another format is refused."""
INPUT = "blended"
"""Name of the input: (1, 3, H, W) float32, red, green and blue of sRGB in [0, 1]."""
OUTPUTS = ("transmission", "reflection")
"""Names of the outputs, of the input's shape; values may lie outside of [0, 1] and are to be clamped."""
FIXED = {
    "input": INPUT,
    "outputs": ",".join(OUTPUTS),
    "layout": "1x3xHxW",
    "channels": "RGB",
    "colour_space": "sRGB",
    "range": "0,1",
}
"""The same in every file of `FORMAT`, for who reads the file without this page's help."""
_TRAITS = (
    "size_multiple",
    "min_size",
    "working_size",
    "tileable",
    "tile_overlap",
    "bytes_per_pixel",
    "fades",
)


@dataclass(frozen=True)
class Description:
    """A model in an ONNX file."""

    name: str
    """Of the model, as `dereflect models` lists it, or of the folder or file that it came from."""
    family: str
    """Of the method that was exported."""
    version: str
    """Of dereflect, when it was exported."""
    licence: str
    """Of the weights; "not stated" where that is not known."""
    dtype: str
    """What it computes in: ``float32`` or ``float16``. Input and outputs are float32 in either case."""
    weights: str
    """The narrowest format in which weights are stored: ``float32``, ``float16`` or ``int8``."""
    traits: Traits
    """How the Separator runs it."""
    difference: str = ""
    """Measured against torch in float32: mean and largest of the layers, in [0, 1], and on what."""

    def as_properties(self) -> dict[str, str]:
        """The keys and values to write."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "traits"}
        traits = {key: _text(asdict(self.traits)[key]) for key in _TRAITS}
        return {PREFIX + key: value for key, value in ({"format": FORMAT} | own | FIXED | traits).items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], subject: object) -> Description:
        """Read what `as_properties` gave.

        Args:
            properties: with at least a format.
            subject: the file, for errors.

        Raises:
            ModelError: another format, or a key that is missing or has a value that cannot be.
        """
        own = {key.removeprefix(PREFIX): value for key, value in properties.items() if key.startswith(PREFIX)}
        if own.get("format") != FORMAT:
            reason = f"is of format '{own.get('format')}', and this version reads {FORMAT}; export it again"
            raise ModelError(subject, reason)
        try:
            values: dict[str, Any] = {f.name: own[f.name] for f in fields(cls) if f.name != "traits"}
            traits = {key: _number(own[key]) for key in _TRAITS}
        except KeyError as error:
            raise ModelError(subject, f"lacks {PREFIX}{error.args[0]} among its metadata") from error
        except ValueError as error:
            raise ModelError(subject, f"has metadata that cannot be ({error}); export it again") from error
        return cls(**values, traits=Traits(**traits, batchable=False))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(text: str) -> Any:
    """A trait's value: of a switch ``true`` or ``false``, else a whole number."""
    return text == "true" if text in ("true", "false") else int(text)
