"""Which of a folder's files to take where a photo lies there twice: as a raw file and as a JPEG."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from dereflect.images.containers import RAW_SUFFIXES, SUFFIXES

TakeRaw = Literal["prefer", "skip", "both"]
_TWINS = frozenset(SUFFIXES["JPEG"] + SUFFIXES["HEIF"])
"""What cameras write beside a raw file."""
_DEVELOPED = frozenset(SUFFIXES["TIFF"])
"""What people make of one, in a program of their own."""


@dataclass
class Chosen:
    """The files of one folder, sorted out.

    Attributes:
        names: to take, in their order.
        twins: left out because the same photo is taken from another file.
        unwanted: raw files left out by ``skip``.
        stand_ins: raw files left out because nothing here develops them; their JPEG or TIFF stands in.
        unreadable: as these, of which there is no JPEG or TIFF.
    """

    names: list[str] = field(default_factory=list)
    twins: int = 0
    unwanted: int = 0
    stand_ins: int = 0
    unreadable: int = 0

    def count(self, other: Chosen) -> None:
        """Add what was left out of another folder."""
        self.twins += other.twins
        self.unwanted += other.unwanted
        self.stand_ins += other.stand_ins
        self.unreadable += other.unreadable


def is_raw(name: str) -> bool:
    """Whether a file has the name of a camera's raw file."""
    return _suffix(name) in RAW_SUFFIXES


def choose(names: Iterable[str], raw: TakeRaw = "prefer", readable: bool = True) -> Chosen:
    """Sort out files of one folder, by their names.

    Files are the same photo where their names are equal up to the extension and the case of letters.

    Args:
        names: of pictures and raw files.
        raw: ``prefer`` takes the raw file of a photo and not the JPEG or HEIC beside it, nor a raw file that
            somebody has developed to a TIFF beside it; ``skip`` takes no raw file, ``both`` takes all.
        readable: whether raw files can be developed. If not, none is taken.
    """
    names = list(names)
    suffixes: dict[str, set[str]] = {}
    for name in names:
        suffixes.setdefault(_stem(name), set()).add(_suffix(name))
    chosen = Chosen()
    for name in names:
        beside = suffixes[_stem(name)]
        if is_raw(name):
            if raw == "skip":
                chosen.unwanted += 1
            elif raw == "prefer" and beside & _DEVELOPED:
                chosen.twins += 1
            elif readable:
                chosen.names.append(name)
            elif beside & (_TWINS | _DEVELOPED):
                chosen.stand_ins += 1
            else:
                chosen.unreadable += 1
        elif raw == "prefer" and readable and _suffix(name) in _TWINS and _has_taken_raw(beside):
            chosen.twins += 1
        else:
            chosen.names.append(name)
    return chosen


def _has_taken_raw(suffixes: set[str]) -> bool:
    return bool(suffixes & RAW_SUFFIXES) and not suffixes & _DEVELOPED


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].casefold()
