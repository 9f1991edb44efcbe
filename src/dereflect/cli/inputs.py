"""From the command line's INPUT words to photos: files, folders, patterns."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dereflect.errors import InputError, Option, Remedy, first_line
from dereflect.images.reading import PICTURE_SUFFIXES

_OUTPUT_ENDINGS = ("_transmission", "_reflection", "_side_by_side")


@dataclass(frozen=True)
class Photo:
    """One photo to separate, and the folder of its outputs relative to the output folder."""

    path: Path
    relative: Path = Path()


@dataclass
class Found:
    """What the INPUT words stand for."""

    photos: list[Photo] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)
    """Words that stand for nothing, folders that cannot be read."""
    others: int = 0
    """Files in folders that are not images."""
    own_outputs: int = 0
    """Files in folders that an earlier run has written beside their photos."""


def find_photos(words: Sequence[str], recursive: bool = False, shard: tuple[int, int] = (0, 1)) -> Found:
    """Follow the INPUT words: a file stands for itself, a folder for the pictures in it, a pattern for its
    matches.

    Args:
        words: of the command line, without ``-``.
        recursive: also look into folders of folders (not through links, which may go in circles).
        shard: (i, n) finds only every n-th photo from the i-th on, counted from 0.
    """
    found = Found()
    seen: set[str] = set()
    for word in words:
        try:
            for path in _matches(word):
                _add(path, recursive, found, seen)
        except InputError as error:
            found.errors.append(error)
    found.photos = found.photos[shard[0] :: shard[1]]
    return found


def _matches(word: str) -> list[Path]:
    if os.path.lexists(word) or not glob.has_magic(word):
        return [Path(word)]
    matches = sorted(glob.glob(word, recursive=True))
    if not matches:
        raise InputError(word, "no file matches this pattern")
    return [Path(match) for match in matches]


def _add(path: Path, recursive: bool, found: Found, seen: set[str]) -> None:
    try:
        is_folder = os.path.isdir(path)
        os.stat(path)
    except (OSError, ValueError) as error:
        raise InputError(path, _why_not(error)) from error
    if not is_folder:
        _add_photo(Photo(path), found, seen)
        return
    before = len(found.photos)
    own_before, errors_before = found.own_outputs, len(found.errors)
    for folder, files in _folders(path, recursive, found.errors):
        names = {Path(name).stem for name in files}
        for name in sorted(files):
            file = Path(folder) / name
            if Path(name).suffix.lower() not in PICTURE_SUFFIXES:
                found.others += 1
            elif any(
                Path(name).stem == stem + end for end in _OUTPUT_ENDINGS for stem in _stems(name, end, names)
            ):
                found.own_outputs += 1
            else:
                _add_photo(Photo(file, Path(folder).relative_to(path)), found, seen)
    if len(found.photos) == before and found.own_outputs == own_before and len(found.errors) == errors_before:
        remedy = None if recursive else Remedy("{} looks into its folders too", Option("recursive", True))
        raise InputError(path, "no pictures in this folder", remedy=remedy)


def _stems(name: str, ending: str, names: set[str]) -> Iterator[str]:
    """The photo that `name` would be an output of, if it is there."""
    stem = Path(name).stem.removesuffix(ending)
    if stem in names and stem != Path(name).stem:
        yield stem


def _folders(path: Path, recursive: bool, errors: list[InputError]) -> Iterator[tuple[str, list[str]]]:
    def note(error: OSError) -> None:
        errors.append(InputError(error.filename, first_line(error)))

    for folder, folders, files in os.walk(path, onerror=note):
        yield folder, [name for name in files if not name.startswith(".")]
        if not recursive:
            return
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _add_photo(photo: Photo, found: Found, seen: set[str]) -> None:
    key = os.path.normcase(os.path.abspath(photo.path))
    if key not in seen:
        seen.add(key)
        found.photos.append(photo)


def _why_not(error: Exception) -> str:
    if isinstance(error, OSError):
        if error.errno == errno.ENOENT:
            return "no such file or folder"
        if error.errno == errno.ELOOP:
            return "a link that leads back to itself"
    return first_line(error)


def parse_shard(text: str | None) -> tuple[int, int]:
    """Turn ``i/n`` (from 1/n to n/n) into (i - 1, n).

    Raises:
        InputError: anything else.
    """
    if text is None:
        return 0, 1
    index, _, count = text.partition("/")
    try:
        number, total = int(index), int(count)
    except ValueError:
        number = total = 0
    if not 1 <= number <= total:
        raise InputError(text, "write it as i/n, from 1/n to n/n", option="shard")
    return number - 1, total
