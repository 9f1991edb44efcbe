"""The table that `dereflect models` prints: a line a model, within 100 columns, best first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dereflect.methods.card import ModelCard

WIDTH = 100
"""Columns that a line has at most."""
_TITLES = ("model", "PSNR", "on (protocol)", "size", "s/Mpx", "MiB", "licence", "here")
_LEFT = {"model", "on (protocol)", "licence", "here"}
_GAP = "  "


def table(cards: Iterable[ModelCard], is_here: Callable[[ModelCard], bool]) -> list[str]:
    """Lines of a table of models, then what its columns mean.

    Args:
        cards: in the order to list them in.
        is_here: whether a card's weights are on the disk.
    """
    listed = list(cards)
    rows = [_TITLES, *(_row(card, is_here(card)) for card in listed)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    licence = _TITLES.index("licence")
    widths[licence] -= max(0, sum(widths) + len(_GAP) * (len(widths) - 1) - WIDTH)
    lines = []
    for row in rows:
        cells = [
            _cut(cell, width).ljust(width) if title in _LEFT else cell.rjust(width)
            for title, cell, width in zip(_TITLES, row, widths, strict=True)
        ]
        lines.append(_GAP.join(cells).rstrip())
    machines = sorted({card.cost.machine for card in listed if card.cost is not None})
    return [*lines, "", *_wrapped(_notes(machines))]


def _row(card: ModelCard, here: bool) -> tuple[str, ...]:
    from dereflect.methods.ranking import quality, stated

    psnr, data = quality(card)
    protocols = sorted({score.protocol for score in stated(card)})
    words = {"the field's test photos": "all photos"}.get(data, data)
    return (
        card.name,
        "" if psnr is None else f"{psnr:.2f}",
        "" if psnr is None else f"{words} ({', '.join(protocols)})",
        _size(card.megabytes),
        _seconds(card),
        _memory(card),
        card.licence.partition(" (")[0].partition(";")[0],
        "yes" if here else "no",
    )


def _size(megabytes: float) -> str:
    if not megabytes:
        return ""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def _seconds(card: ModelCard) -> str:
    if card.cost is None:
        return ""
    return f"{card.cost.seconds:.3g}" if card.cost.seconds < 1000 else f"{card.cost.seconds:.0f}"


def _memory(card: ModelCard) -> str:
    if card.cost is not None:
        return f"{card.cost.mebibytes:.0f}"
    return f"~{card.at_work:.0f}" if card.at_work else ""


def _notes(machines: list[str]) -> list[str]:
    notes = [
        "PSNR: of the transmission in dB, as its authors published it; all photos: the field's 494. The "
        "default model was measured on other photos: `dereflect models show default`.",
        "s/Mpx, MiB: one photo of a megapixel at the size at which the model runs, and the most memory "
        "meanwhile; ~: an estimate.",
    ]
    if machines:
        notes.append(f"Measured on {'; '.join(machines)}.")
    return [*notes, "`dereflect models show NAME` tells everything of one."]


def _wrapped(paragraphs: list[str]) -> list[str]:
    import textwrap

    return [line for text in paragraphs for line in textwrap.wrap(text, WIDTH, break_on_hyphens=False)]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
