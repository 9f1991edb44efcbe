"""The order of models by quality, from what their cards say: the one place that decides it.

1. By the mean PSNR over the field's 494 test photos (`PHOTOS`), as stated or weighed from its five parts.
2. Then models that state Real20 alone, by that; then models that state other data alone.
3. Then models without published numbers, such as our own, which was measured on other photos.

Within a step a model of fewer measured seconds comes first where quality is the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from dereflect.methods.card import ModelCard, Score

PHOTOS = {"real20": 20, "sir2-objects": 200, "sir2-postcard": 199, "sir2-wild": 55, "nature": 20}
"""Photos of each of the field's test sets."""
_ALL = "mean of all"
"""In the data of a score over all of them."""


def by_quality(cards: Iterable[ModelCard]) -> list[ModelCard]:
    """Best first; see the module."""
    return sorted(cards, key=lambda card: (_step(card), -(quality(card)[0] or 0.0), _seconds(card)))


def quality(card: ModelCard) -> tuple[float | None, str]:
    """(PSNR in dB, its data) by which a card is placed; (None, what is missing) where it has none."""
    scores = stated(card)
    if not scores:
        return None, "no published numbers"
    if len(scores) == 1 and _ALL not in scores[0].data:
        return scores[0].psnr, scores[0].data
    if len(scores) == 1:
        return scores[0].psnr, "the field's test photos"
    total = sum(score.psnr * PHOTOS[score.data] for score in scores)
    return total / sum(PHOTOS.values()), "the field's test photos"


def stated(card: ModelCard) -> list[Score]:
    """The published scores by which a card is placed: one over all photos, the five parts, or one of them."""
    scores: dict[str, Score] = {}
    for score in card.published:
        scores.setdefault(score.data, score)
    if whole := [score for score in scores.values() if _ALL in score.data]:
        return [max(whole, key=lambda score: score.psnr)]
    if scores.keys() >= PHOTOS.keys():
        return [scores[data] for data in PHOTOS]
    return [scores.get("real20") or next(iter(scores.values()))] if scores else []


def _step(card: ModelCard) -> int:
    psnr, data = quality(card)
    if psnr is None:
        return 3
    return {"the field's test photos": 0, "real20": 1}.get(data, 2)


def _seconds(card: ModelCard) -> float:
    return card.cost.seconds if card.cost else float("inf")
