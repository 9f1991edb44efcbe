"""Weights that are plain files at their authors' addresses (`ModelCard.files`), fetched when asked for.

A file is kept in the cache under the card's name. Where its authors publish no checksum, the one of what came
first is kept beside it and holds from then on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from dereflect.downloads import ReportBytes, fetch
from dereflect.errors import InputError, ModelError, Option, Remedy
from dereflect.files import writing
from dereflect.methods.card import ModelCard, RemoteFile
from dereflect.methods.drive import fetch_from_drive, is_on_drive
from dereflect.weights import cache_folder

Say = Callable[[str], None]
"""Told in words what happens."""


def notice(card: ModelCard) -> str:
    """What would be fetched: size, source, licence, and how it is checked."""
    return "; ".join(
        f"{file.megabytes:,.0f} MB from {file.url} (licence: {file.licence}; "
        f"{'checked by its published sha256' if file.sha256 else 'no checksum is published'})"
        for file in card.files
    )


def download_files(
    card: ModelCard, yes: bool, sources: Mapping[str, str], say: Say, report: ReportBytes | None = None
) -> Path:
    """Fetch a card's files into the cache; see `dereflect.methods.family.Download`.

    Args:
        card: whose files.
        yes: the user's consent to fetching.
        sources: files that are on this machine already, by their `RemoteFile.part`; they are copied.
        say, report: told what happens, and how far each file is.

    Returns:
        The folder of the files.

    Raises:
        InputError: an unknown part, or a local file that is not there.
        ModelError: no consent, a failed download, or a wrong checksum.
    """
    parts = {file.part: file for file in card.files}
    for part, text in sources.items():
        if part not in parts:
            raise InputError(text, f"{card.name} has no such part; give {', '.join(parts)}", setting=part)
        if not Path(text).expanduser().is_file():
            raise InputError(text, "no such file", setting=part)
    missing = [file for file in card.files if file.part not in sources and not _place(card, file).is_file()]
    if missing and not yes:
        given = [Option(file.part, "FILE", setting=True) for file in missing]
        remedy = Remedy(
            "give {} to agree, or " + " and ".join("{}" for _ in given), Option("yes", True), *given
        )
        raise ModelError(card.name, f"this would fetch {notice(card)}", remedy=remedy)
    for file in card.files:
        place = _place(card, file)
        if file.part in sources:
            say(f"copying {sources[file.part]}")
            with writing(place) as temporary:
                shutil.copyfile(Path(sources[file.part]).expanduser(), temporary)
            place.with_name(place.name + ".sha256").unlink(missing_ok=True)  # of what was there before
        elif file in missing:
            say(f"fetching {file.url}")
        _checked(card, file, report)
    return cache_folder() / card.name


def local_files(card: ModelCard) -> dict[str, Path]:
    """A card's files by part, as `download_files` has kept them; nothing is fetched.

    Raises:
        ModelError: one is not there (says what to fetch, from where, how large and under which licence), or
            has changed since it was first used.
    """
    if any(not _place(card, file).is_file() for file in card.files):
        raise ModelError(
            card.name,
            f"its weights are not here; they are {notice(card)}; fetch them with: "
            f"dereflect models download {card.name} --yes",
        )
    return {file.part: _checked(card, file) for file in card.files}


def is_here(card: ModelCard) -> bool:
    """Whether a card's weights are embedded, or were downloaded (and converted); nothing is fetched."""
    if card.weights == "embedded" or (cache_folder() / card.name / "model" / "config.json").is_file():
        return True
    return bool(card.files) and all(_place(card, file).is_file() for file in card.files)


def _place(card: ModelCard, file: RemoteFile) -> Path:
    return cache_folder() / card.name / file.name


def _checked(card: ModelCard, file: RemoteFile, report: ReportBytes | None = None) -> Path:
    place = _place(card, file)
    if is_on_drive(file.url):
        fetch_from_drive(file.url, place, report)
    return fetch(file.url, place, f"sha256:{file.sha256}" if file.sha256 else "", report=report)
