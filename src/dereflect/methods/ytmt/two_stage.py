"""A whole YTMT system (paper section 3.2): VGG-19, and one or two networks."""

from __future__ import annotations

from torch import Tensor, nn

from dereflect.methods.ytmt.config import YtmtConfig
from dereflect.methods.ytmt.hypercolumn import hypercolumn
from dereflect.methods.ytmt.network import PlainNetwork, UNetwork
from dereflect.methods.ytmt.network_old import OldUNetwork
from dereflect.nn.streams import TwoStreams
from dereflect.nn.vgg import Vgg19

YtmtNetwork = UNetwork | PlainNetwork | OldUNetwork


def build_network(config: YtmtConfig) -> YtmtNetwork:
    """One network of the configured shape, with PyTorch's default initial weights."""
    if config.shape == "old":
        return OldUNetwork(config)
    return UNetwork(config) if config.shape == "U" else PlainNetwork(config)


class YtmtSystem(nn.Module):
    """One or two stages over a frozen VGG-19: the plain path, which builds every hypercolumn.

    Stage two sees the two layers that stage one found, each in its own stream, and never the image itself.

    Args:
        config: which networks.
        vgg: features for the hypercolumns; None where the config has none.
    """

    def __init__(self, config: YtmtConfig, vgg: Vgg19 | None) -> None:
        super().__init__()
        self.config = config
        self.stage1 = build_network(config)
        self.stage2 = build_network(config) if config.stages == 2 else None
        self.vgg = vgg if config.hypercolumn else None

    def features(self, image: Tensor) -> Tensor:
        """Input of a network: (B, in_channels, H, W) for an image (B, C, H, W)."""
        return image if self.vgg is None else hypercolumn(image, self.vgg(image))

    def stages(self, image: Tensor) -> list[TwoStreams]:
        """The (transmission, reflection) of each stage, each (B, C, H, W).

        For an image (B, C, H, W) in [0, 1].
        """
        results = [self.stage1(self.features(image))]
        if self.stage2 is not None:
            transmission, reflection = results[0]
            results.append(self.stage2(self.features(transmission), self.features(reflection)))
        return results

    def forward(self, image: Tensor) -> TwoStreams:
        """(transmission, reflection) of the last stage."""
        return self.stages(image)[-1]
