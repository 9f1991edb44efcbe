"""Next-ViT-L, the backbone of the depth network, for inference.

"Next-ViT: Next Generation Vision Transformer for Efficient Deployment in Realistic Industrial Scenarios"
(arXiv 2207.05501). Module names follow the published weights; the classification end is left out, as nothing
of it is used, and so is path dropout, which acts in training alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD = 32
"""Channels of an attention head and of a convolution group."""

HOOKED = (2, 6, 36, 39)
"""Blocks after which features are taken: 96, 256, 512 and 1024 channels at strides 4, 8, 16 and 32."""


class ConvNormReLU(nn.Module):
    """3x3 convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H / stride, W / stride)."""
        return F.relu(self.norm(self.conv(x)))


class PatchProjection(nn.Module):
    """Change of width, and of size by 2x2 averaging; without parameters where neither changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.changes = stride, stride == 2 or in_channels != out_channels
        if self.changes:
            self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H / stride, W / stride), rounded up."""
        if self.stride == 2:
            x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        return self.norm(self.conv(x)) if self.changes else x


class MHCA(nn.Module):
    """Multi-head convolutional attention: grouped 3x3 convolution, norm, ReLU, projection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.group_conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels // HEAD, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.projection = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.projection(F.relu(self.norm(self.group_conv3x3(x))))


class MLP(nn.Module):
    """Two 1x1 convolutions with ReLU between."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, ratio * channels, 1)
        self.conv2 = nn.Conv2d(ratio * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.conv2(F.relu(self.conv1(x)))


class ConvBlock(nn.Module):
    """Next convolution block: convolutional attention and MLP, both residual."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.patch_embed = PatchProjection(in_channels, channels, stride)
        self.mhca = MHCA(channels)
        self.norm = nn.BatchNorm2d(channels)
        self.mlp = MLP(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, C, H / stride, W / stride)."""
        x = self.patch_embed(x)
        x = x + self.mhca(x)
        return x + self.mlp(self.norm(x))


class EfficientAttention(nn.Module):
    """Self-attention over raster-ordered pixels; keys and values from averages of consecutive pixels.

    The averaging window is one-dimensional: `reduction` squared pixels of the raster sequence, what is left
    over at the end dropped.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.reduction = reduction
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)
        if reduction > 1:
            self.norm = nn.BatchNorm1d(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, C) to the same shape."""
        batch, length, channels = tokens.shape
        memory = tokens
        if self.reduction > 1:
            pooled = F.avg_pool1d(tokens.transpose(1, 2), self.reduction**2)
            memory = self.norm(pooled).transpose(1, 2)
        q, k, v = (
            layer(x).view(batch, -1, channels // HEAD, HEAD).transpose(1, 2)
            for layer, x in ((self.q, tokens), (self.k, memory), (self.v, memory))
        )
        mixed = F.scaled_dot_product_attention(q, k, v)  # scale HEAD ** -0.5
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, channels))


class TransformerBlock(nn.Module):
    """Next transformer block.

    Attention on three quarters of the channels, convolution on one quarter, MLP on all.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, reduction: int) -> None:
        super().__init__()
        attended, convolved = channels * 3 // 4, channels // 4
        self.patch_embed = PatchProjection(in_channels, attended, stride)
        self.norm1 = nn.BatchNorm2d(attended)
        self.e_mhsa = EfficientAttention(attended, reduction)
        self.projection = PatchProjection(attended, convolved, 1)
        self.mhca = MHCA(convolved)
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = MLP(channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, C, H / stride, W / stride)."""
        x = self.patch_embed(x)
        tokens = self.norm1(x).permute(0, 2, 3, 1)
        answer = self.e_mhsa(tokens.flatten(1, 2))
        x = x + answer.view(tokens.shape).permute(0, 3, 1, 2)
        c = self.projection(x)
        c = c + self.mhca(c)
        x = torch.cat([x, c], dim=1)
        return x + self.mlp(self.norm2(x))


class NextViT(nn.Module):
    """Stem and 40 blocks; returns the features at four strides."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 64, 2), (64, 32, 1), (32, 64, 1), (64, 64, 2))
        self.stem = nn.Sequential(*(ConvNormReLU(*size) for size in sizes))
        self.features = nn.ModuleList(next_vit_large_blocks())

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to four feature maps: see `HOOKED`."""
        x, taken = self.stem(image), []
        for i, block in enumerate(self.features):
            x = block(x)
            if i in HOOKED:
                taken.append(x)
        return taken


def next_vit_large_blocks() -> list[nn.Module]:
    """The four stages of the large model."""
    blocks: list[nn.Module] = [ConvBlock(64, 96), ConvBlock(96, 96), ConvBlock(96, 96)]
    blocks += [
        ConvBlock(96, 192, 2),
        ConvBlock(192, 192),
        ConvBlock(192, 192),
        TransformerBlock(192, 256, 1, 4),
    ]
    width = 256
    for i in range(6):
        blocks += [ConvBlock(width, 384, 2 if i == 0 else 1), *(ConvBlock(384, 384) for _ in range(3))]
        blocks.append(TransformerBlock(384, 512, 1, 2))
        width = 512
    return [*blocks, ConvBlock(512, 768, 2), ConvBlock(768, 768), TransformerBlock(768, 1024, 1, 1)]
