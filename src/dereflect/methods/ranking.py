"""The order of models by quality, from what their cards say: the one place that decides it.

1. By the mean PSNR over the field's 494 test photos (`PHOTOS`), as stated or weighed from its five parts.
2. Then models that state Real20 alone, by that; then models that state other data alone.
3. Then models without published numbers, such as our own, which was measured on other photos.

Within a step a model of fewer measured seconds comes first where quality is the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from dereflect.methods.card import ModelCard

PHOTOS = {"real20": 20, "sir2-objects": 200, "sir2-postcard": 199, "sir2-wild": 55, "nature": 20}
"""Photos of each of the field's test sets."""
_ALL = "mean of all"
"""In the data of a score over all of them."""


def by_quality(cards: Iterable[ModelCard]) -> list[ModelCard]:
    """Best first; see the module."""
    return sorted(cards, key=lambda card: (_step(card), -(quality(card)[0] or 0.0), _seconds(card)))


def quality(card: ModelCard) -> tuple[float | None, str]:
    """(PSNR in dB, its data) by which a card is placed; (None, what is missing) where it has none."""
    scores: dict[str, float] = {}
    for score in card.published:
        scores.setdefault(score.data, score.psnr)
    if stated := [psnr for data, psnr in scores.items() if _ALL in data]:
        return max(stated), "the field's test photos"
    if scores.keys() >= PHOTOS.keys():
        total = sum(scores[data] * count for data, count in PHOTOS.items())
        return total / sum(PHOTOS.values()), "the field's test photos"
    for data in ("real20", *scores):
        if data in scores:
            return scores[data], data
    return None, "no published numbers"


def _step(card: ModelCard) -> int:
    psnr, data = quality(card)
    if psnr is None:
        return 3
    return {"the field's test photos": 0, "real20": 1}.get(data, 2)


def _seconds(card: ModelCard) -> float:
    return card.cost.seconds if card.cost else float("inf")
