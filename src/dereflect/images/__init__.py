"""Reading and writing pictures as people have them: orientation, profiles, metadata, alpha, 8 and 16 bit."""

from dereflect.images.containers import PICTURE_SUFFIXES
from dereflect.images.picture import Metadata, Picture
from dereflect.images.reading import probe, read, upright_size
from dereflect.images.sources import from_array, read_any
from dereflect.images.writing import FORMATS, encode, loss, suffix_of, write, write_bytes
from dereflect.limits import DEFAULT_MAX_PIXELS

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "FORMATS",
    "PICTURE_SUFFIXES",
    "Metadata",
    "Picture",
    "encode",
    "from_array",
    "loss",
    "probe",
    "read",
    "read_any",
    "suffix_of",
    "upright_size",
    "write",
    "write_bytes",
]
