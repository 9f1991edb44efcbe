"""Random photos through glass, in linear light, for training: draw numbers a sample, render a batch.

`draw` turns a `GlassMix` (how often each situation comes) and a random generator into the numbers of one
photo; `render` makes a batch of photos of such numbers, on any device, and tells the formation.
"""

from dereflect.data.glass.draws import Draws, draw, stack
from dereflect.data.glass.mix import GlassMix
from dereflect.data.glass.render import Glass, render

__all__ = ["Draws", "Glass", "GlassMix", "draw", "render", "stack"]
