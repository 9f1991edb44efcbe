"""Losses of layer separation, each a small function that states its formula and its source.

Means are over all elements, batch included. dh and dw are forward differences along height and width, one
element shorter than the image in their direction.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.nn.vgg import Vgg19

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

AdversarialKind = Literal["sgan", "rsgan", "rasgan"]


def differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences along height and width: (B, C, H - 1, W) and (B, C, H, W - 1)."""
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def gradient_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """mean |dh a - dh b| + mean |dw a - dw b| (Hu & Guo 2021, the gradient part of the pixel loss)."""
    ah, aw = differences(estimate)
    bh, bw = differences(target)
    return F.l1_loss(ah, bh) + F.l1_loss(aw, bw)


def pixel_loss(estimate: Tensor, target: Tensor, mse: float, gradient: float) -> Tensor:
    """mse * mean (a - b)^2 + gradient * `gradient_loss` (Hu & Guo 2021, section 3.3; theirs: 0.3 and 0.6)."""
    loss = mse * F.mse_loss(estimate, target)
    return loss + gradient * gradient_loss(estimate, target) if gradient else loss


def reconstruction_loss(transmission: Tensor, reflection: Tensor, blended: Tensor) -> Tensor:
    """mean |T + R - I|: the two layers must add up to what was photographed (Hu & Guo 2021, section 3.3)."""
    return F.l1_loss(transmission + reflection, blended)


def exclusion_loss(
    transmission: Tensor, reflection: Tensor, levels: int = 3, divisor: float = 3.0, eps: float = 1e-6
) -> Tensor:
    """Edges of one layer should not be edges of the other (Zhang et al., CVPR 2018).

    As Hu & Guo's code computes it.

    At each level and direction d, with a = 2 mean|d T| / (mean|d R| + eps):
    ( mean[ tanh(dT / 2)^2 tanh(a dR / 2)^2 ] + eps )^(1/4). The two directions' sums are divided by `divisor`
    (3 in the original whatever the number of levels) and averaged; each next level is half the size (2x2
    averages, odd rows and columns dropped). The gradient flows through a. A constant layer gives eps^(1/4)
    per term.
    """
    total = transmission.new_zeros(())
    for level in range(levels):
        if level:
            transmission, reflection = F.avg_pool2d(transmission, 2), F.avg_pool2d(reflection, 2)
        for dT, dR in zip(differences(transmission), differences(reflection), strict=True):
            alpha = 2 * dT.abs().mean() / (dR.abs().mean() + eps)
            product = torch.tanh(dT / 2).square() * torch.tanh(alpha * dR / 2).square()
            total = total + (product.mean() + eps) ** 0.25
    return total / (2 * divisor)


def exclusion_loss_of_paper(
    transmission: Tensor, reflection: Tensor, levels: int = 3, eps: float = 1e-6
) -> Tensor:
    """Mean over levels and directions of mean[ (tanh(b |dT|) tanh(c |dR|))^2 ], as the papers write it.

    b = sqrt(|dR| / |dT|), c = 1 / b with mean absolute differences (the balance of Zhang et al., CVPR 2018,
    section 3.3); Hu & Guo 2021 write the same product with factors that they leave open. Norms are means
    instead of sums.
    """
    total = transmission.new_zeros(())
    for level in range(levels):
        if level:
            transmission, reflection = F.avg_pool2d(transmission, 2), F.avg_pool2d(reflection, 2)
        for dT, dR in zip(differences(transmission), differences(reflection), strict=True):
            balance = ((dR.abs().mean() + eps) / (dT.abs().mean() + eps)).sqrt()
            product = torch.tanh(balance * dT.abs()) * torch.tanh(dR.abs() / balance)
            total = total + product.square().mean()
    return total / (2 * levels)


def imagenet_normalised(image: Tensor) -> Tensor:
    """(image - mean) / deviation with ImageNet's numbers, rounded to float32 first; (B, 3, H, W)."""
    mean, std = (
        torch.tensor(numbers, dtype=torch.float32, device=image.device).to(image.dtype).view(3, 1, 1)
        for numbers in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (image - mean) / std


def perceptual_terms(vgg: Vgg19, estimate: Tensor, target: Tensor) -> list[Tensor]:
    """mean |phi_k(a) - phi_k(b)| of the five levels of `vgg`, on ImageNet-normalised images.

    There is no gradient to `target`.
    """
    with torch.no_grad():
        wanted = vgg(imagenet_normalised(target))
    found = vgg(imagenet_normalised(estimate))
    return [F.l1_loss(a, b) for a, b in zip(found, wanted, strict=True)]


def perceptual_loss(vgg: Vgg19, estimate: Tensor, target: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Weighted sum of `perceptual_terms` (Johnson et al. 2016; the weights are the caller's, one a level)."""
    terms = perceptual_terms(vgg, estimate, target)
    return torch.stack([w * term for w, term in zip(weights, terms, strict=True)]).sum()


def discriminator_loss(kind: AdversarialKind, real: Tensor, fake: Tensor) -> Tensor:
    """Loss of a discriminator from its logits C of a true and a made picture.

    sp is softplus, E the batch mean.

    sgan: (sp(C(fake)) + sp(-C(real))) / 2 (Goodfellow et al. 2014). rsgan and rasgan (Jolicoeur-Martineau
    2019): ( sp(-(C(real) - E C(fake))) + sp(C(fake) - E C(real)) ) / 2, where rsgan leaves out E.
    """
    if kind == "sgan":
        return (F.softplus(fake).mean() + F.softplus(-real).mean()) / 2
    real_to_fake, fake_to_real = _relative(kind, real, fake)
    return (F.softplus(-real_to_fake).mean() + F.softplus(fake_to_real).mean()) / 2


def generator_loss(kind: AdversarialKind, real: Tensor, fake: Tensor) -> Tensor:
    """Loss of a generator, the mirror image of `discriminator_loss`; for sgan sp(-C(fake)) alone."""
    if kind == "sgan":
        return F.softplus(-fake).mean()
    real_to_fake, fake_to_real = _relative(kind, real, fake)
    return (F.softplus(real_to_fake).mean() + F.softplus(-fake_to_real).mean()) / 2


def _relative(kind: AdversarialKind, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    if kind == "rsgan":
        return real - fake, fake - real
    return real - fake.mean(0, keepdim=True), fake - real.mean(0, keepdim=True)
