"""From the command line's INPUT words to photos: files, folders, patterns."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dereflect.errors import InputError, Option, Remedy, first_line
from dereflect.images import PICTURE_SUFFIXES
from dereflect.images.raw import is_here
from dereflect.images.raw_pairs import Chosen, TakeRaw, choose, is_raw
from dereflect.outputs import BATCH_FOLDER, photo_stems


@dataclass(frozen=True)
class InputFile:
    """One photo to separate, and the folder of its outputs relative to the output folder."""

    path: Path
    relative: Path = Path()


@dataclass
class Found:
    """What the INPUT words stand for."""

    photos: list[InputFile] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)
    """Words that stand for nothing, folders that cannot be read."""
    others: int = 0
    """Files in folders that are not images."""
    own_outputs: int = 0
    """Files that an earlier run has written."""
    own_folders: int = 0
    """Folders that runs write to: the output folder, and destinations of batches."""
    raw: Chosen = field(default_factory=Chosen)
    """How many files were left out for raw files, or as such."""


def find_photos(
    words: Sequence[str],
    recursive: bool = False,
    shard: tuple[int, int] = (0, 1),
    output: Path | None = None,
    overwrite: bool = False,
    raw: TakeRaw = "prefer",
    may_be_empty: bool = False,
) -> Found:
    """Follow the INPUT words to the photos that they name.

    A file stands for itself, a folder for the pictures in it, a pattern for its matches.

    What runs have written is skipped: the output folder, wherever it lies and however it is spelled, and
    files beside a photo that are named as its outputs. A word of its own is taken as it is unless its photo
    is given too, and even then if that photo's outputs would replace it.

    Args:
        words: of the command line, without ``-``.
        recursive: also look into folders of folders (not through links, which may go in circles).
        shard: (i, n) finds only every n-th photo from the i-th on, counted from 0.
        output: folder of the outputs; beside the photos, if not given.
        overwrite: whether outputs will replace what is there.
        raw: which file to take of a photo that a folder or a pattern gives raw and as JPEG, see
            `dereflect.images.raw_pairs.choose`.
        may_be_empty: whether a folder without pictures is no error.
    """
    search = _Search(recursive, output, raw, may_be_empty)
    for word in words:
        try:
            matches = _matches(word)
            for path in search.sorted_out(matches) if matches != [Path(word)] else matches:
                search.add(path, len(words) == len(matches) == 1, matches == [Path(word)])
        except InputError as error:
            search.found.errors.append(error)
    found = search.found
    kept = search.without_own_outputs(overwrite)
    found.own_outputs += len(found.photos) - len(kept)
    found.photos = kept[shard[0] :: shard[1]]
    return found


def refuse_empty(word: str) -> None:
    """Refuse what a variable that is not set leaves; to Python it would be the current folder.

    Raises:
        InputError: the word is empty.
    """
    if not word:
        raise InputError("INPUT", "is an empty word; give a photo, a folder or a pattern")


def _matches(word: str) -> list[Path]:
    refuse_empty(word)
    if os.path.lexists(word) or not glob.has_magic(word):
        return [Path(word)]
    matches = sorted(glob.glob(word, recursive=True))
    if not matches:
        raise InputError(word, "no file matches this pattern")
    return [Path(match) for match in matches]


class _Search:
    """Gathers photos, one INPUT after the other."""

    def __init__(self, recursive: bool, output: Path | None, raw: TakeRaw, may_be_empty: bool) -> None:
        self.recursive, self.output, self.raw, self.may_be_empty = recursive, output, raw, may_be_empty
        self._develops = is_here()
        self.found = Found()
        self._seen: set[str] = set()
        self._words: set[Path] = set()
        """Photos that a word of the command line names."""
        self._matched: set[Path] = set()
        """Photos that a word or a pattern names, and no folder."""

    def add(self, path: Path, alone: bool, is_word: bool) -> None:
        """Take what one word stands for, or one match of a pattern.

        Raises:
            InputError: it is not there, a folder without pictures, or neither a file nor a folder.
        """
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError) as error:
            raise InputError(path, _why_not(error)) from error
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):  # a pipe can be read but once
            raise InputError(path, "is neither a file nor a folder; give a photo from a pipe as -")
        if not stat.S_ISDIR(mode):
            self._add_photo(InputFile(path), self._words if is_word else self._matched)
        elif not alone and is_same_folder(
            path, self.output
        ):  # of `folder/*`, which names the output folder too
            self.found.own_folders += 1
        else:
            self._add_folder(path)

    def sorted_out(self, matches: list[Path]) -> list[Path]:
        """Matches of a pattern but for files left out for raw files beside them, or as such."""
        names: dict[Path, list[str]] = {}
        for path in matches:
            if _is_picture(path.name):
                names.setdefault(path.parent, []).append(path.name)
        kept = {folder / name for folder in names for name in self._choose(names[folder])}
        return [path for path in matches if not _is_picture(path.name) or path in kept]

    def _choose(self, names: list[str]) -> list[str]:
        chosen = choose(names, self.raw, self._develops)
        self.found.raw.count(chosen)
        return chosen.names

    def _add_folder(self, path: Path) -> None:
        found = self.found
        before = self._progress()
        for folder, files in self._folders(path):
            stems, pictures = {Path(name).stem for name in files}, []
            for name in sorted(files):
                if not _is_picture(name) or not _may_be_photo(Path(folder) / name):
                    found.others += 1
                elif photo_stems(Path(name).stem) & stems:
                    found.own_outputs += 1
                else:
                    pictures.append(name)
            for name in self._choose(pictures):
                self._add_photo(InputFile(Path(folder) / name, Path(folder).relative_to(path)))
        if before == self._progress() and not self.may_be_empty:
            remedy = (
                None if self.recursive else Remedy("{} looks into its folders too", Option("recursive", True))
            )
            raise InputError(path, "no pictures in this folder", remedy=remedy)

    def _progress(self) -> tuple[int, ...]:
        found = self.found
        left_out = found.raw.unwanted + found.raw.unreadable
        return len(found.photos), found.own_outputs, found.own_folders, len(found.errors), left_out

    def _folders(self, path: Path) -> Iterator[tuple[str, list[str]]]:
        def note(error: OSError) -> None:
            self.found.errors.append(InputError(error.filename, first_line(error)))

        for folder, folders, files in os.walk(path, onerror=note):
            yield folder, [name for name in files if not name.startswith(".")]
            if not self.recursive:
                return
            folders[:] = sorted(name for name in folders if name[0] != "." and name != BATCH_FOLDER)
            own = [name for name in folders if self._is_own(os.path.join(folder, name))]
            self.found.own_folders += len(own)
            folders[:] = [name for name in folders if name not in own]

    def _is_own(self, folder: str) -> bool:
        return is_same_folder(folder, self.output) or os.path.isdir(os.path.join(folder, BATCH_FOLDER))

    def _add_photo(self, photo: InputFile, named: set[Path] | None = None) -> None:
        key = os.path.normcase(os.path.abspath(photo.path))
        if key not in self._seen:
            self._seen.add(key)
            self.found.photos.append(photo)
            if named is not None:
                named.add(photo.path)

    def without_own_outputs(self, overwrite: bool) -> list[InputFile]:
        """The photos but for those named by a word or a pattern that are outputs of others of them."""
        named = self._matched | (set() if overwrite else self._words)
        if not named:
            return self.found.photos
        root = os.path.realpath(self.output) if self.output else None
        places = {photo.path: os.path.realpath(photo.path.parent) for photo in self.found.photos}
        targets = set()
        some_outside = False
        for photo in self.found.photos:
            place = places[photo.path]
            some_outside |= not _within(place, root)
            target = place if root is None else os.path.normpath(os.path.join(root, photo.relative))
            targets.add((os.path.normcase(target), photo.path.stem))

        def is_own(photo: InputFile) -> bool:
            place, stems = places[photo.path], photo_stems(photo.path.stem)
            if any((os.path.normcase(place), stem) in targets for stem in stems):
                return True
            return bool(stems) and some_outside and _within(place, root)

        return [photo for photo in self.found.photos if photo.path not in named or not is_own(photo)]


def is_same_folder(folder: str | Path, other: Path | None) -> bool:
    """Whether both are one folder: links, ``..`` and case are the file system's business."""
    try:
        return other is not None and os.path.samefile(folder, other)
    except OSError:  # one of them is not there
        return False


def _within(place: str, root: str | None) -> bool:
    return root is not None and (place == root or place.startswith(root.rstrip(os.sep) + os.sep))


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES or is_raw(name)


def _may_be_photo(path: Path) -> bool:
    """Not so pipes, sockets and devices, which would be waited for; what is missing is reported later."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return True


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
