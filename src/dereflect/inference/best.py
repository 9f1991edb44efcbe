"""``best`` in place of a model's name: the best of the models that are here and fit; nothing is fetched."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dereflect.catalog import CARDS, family
from dereflect.devices import available_memory, choose_device
from dereflect.methods.card import ModelCard
from dereflect.methods.ranking import by_quality, quality

_log = logging.getLogger(__name__)

BEST = "best"
FALLBACK = "default"


@dataclass(frozen=True)
class Choice:
    """Which model was taken, and why."""

    name: str
    why: str


def choose_best(
    device: str = "auto",
    cards: Iterable[ModelCard] | None = None,
    is_here: Callable[[ModelCard], bool] | None = None,
    free: int | None = None,
) -> Choice:
    """The best model (`dereflect.methods.ranking`) that is on the disk, and fits the memory that is free.

    Args:
        device: where it will run, as `dereflect.devices.choose_device` takes it. Without a GPU, models that
            are for one are passed over.
        cards: to choose from; the catalog's, if None.
        is_here: whether a card's weights are on the disk; the families are asked, if None.
        free: bytes; what is free on the device, if None.

    Raises:
        InputError: the device is not there.
    """
    place, _ = choose_device(device)
    room = (available_memory(place) if free is None else free) / 2**20
    here = is_here or (lambda card: family(card.family).is_here(card.name))
    passed: list[str] = []
    absent = 0
    for card in by_quality(CARDS.values() if cards is None else cards):
        if card.name == FALLBACK:
            continue
        if not here(card):
            absent += 1
        elif card.for_gpu and place.type == "cpu":
            passed.append(f"{card.name} is for a GPU")
        elif (needed := need(card)) is None:
            passed.append(f"the memory of {card.name} is not known")
        elif needed > room:
            passed.append(f"{card.name} needs {needed:,.0f} MiB, {room:,.0f} are free")
        else:
            psnr, data = quality(card)
            score = "" if psnr is None else f"{psnr:.2f} dB on {data}, "
            return Choice(card.name, _words([f"{score}needs {needed:,.0f} of {room:,.0f} MiB", *passed]))
    others = (
        "one model that comes before it is" if absent == 1 else f"{absent} models that come before it are"
    )
    reason = f"{others} not on this disk" if absent else "it is the only one"
    return Choice(FALLBACK, _words([reason, *passed] if absent or not passed else passed))


def settled(source: str | os.PathLike[str], device: str = "auto") -> str | os.PathLike[str]:
    """A model's name or path with ``best`` replaced by `choose_best`'s, which is logged; others as they are.

    A file or folder of that name is a path like any other.
    """
    if os.fspath(source) != BEST or os.path.exists(source):
        return source
    choice = choose_best(device)
    _log.warning("model %s: %s (%s)", BEST, choice.name, choice.why)
    return choice.name


def need(card: ModelCard) -> float | None:
    """MiB that a model takes at work, weights included; None where the card does not say."""
    if card.at_work:
        return card.at_work
    return card.cost.mebibytes if card.cost else None


def _words(reasons: list[str]) -> str:
    return "; ".join(reasons)
