"""Discriminators that judge whether a picture is a true transmission; both give logits, without a sigmoid."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

DiscriminatorKind = Literal["vgg", "patch"]


class VggDiscriminator(nn.Module):
    """One logit a picture, from ten convolutions in the manner of VGG.

    Ledig et al., SRGAN, 2017, with group norms.

    Args:
        in_channels: channels of the picture.
        width: channels of the first layer; a multiple of 32 (groups of the norms). The original's is 64.
    """

    def __init__(self, in_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        channels = width
        for out, stride in [(1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2), (8, 1), (8, 2)]:
            layers += [
                nn.Conv2d(channels, out * width, 3, stride, padding=1),
                nn.GroupNorm(32, out * width),
                nn.LeakyReLU(0.2),
            ]
            channels = out * width
        self.body = nn.Sequential(*layers)
        self.tail = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, 1, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, 1, 1, 1)."""
        return self.tail(self.body(image))


class PatchDiscriminator(nn.Module):
    """A map of logits, one for each patch of 70 pixels (Isola et al., pix2pix, 2017)."""

    def __init__(self, in_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, 2, padding=2), nn.LeakyReLU(0.2)]
        channels = width
        for out, stride in [(2, 2), (4, 2), (8, 1)]:
            layers += [
                nn.Conv2d(channels, out * width, 4, stride, padding=2),
                nn.InstanceNorm2d(out * width),
                nn.LeakyReLU(0.2),
            ]
            channels = out * width
        self.model = nn.Sequential(*layers, nn.Conv2d(channels, 1, 4, 1, padding=2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, 1, h, w), h about H / 8."""
        return self.model(image)


def build_discriminator(kind: DiscriminatorKind, width: int = 64) -> nn.Module:
    """The discriminator of that kind, with its original's initial weights."""
    return VggDiscriminator(width=width) if kind == "vgg" else PatchDiscriminator(width=width)
