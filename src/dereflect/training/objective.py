"""Old place of `dereflect.methods.objective`."""

import warnings

from dereflect.methods.objective import Batch, Moment, Objective, Samples, Turn

__all__ = ["Batch", "Moment", "Objective", "Samples", "Turn"]

warnings.warn(
    "dereflect.training.objective is now dereflect.methods.objective; the old name goes soon",
    DeprecationWarning,
    stacklevel=2,
)
