"""Unpacking a ZIP archive of strangers: nothing outside the folder, no links, no more than was said."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from dereflect.errors import InputError, first_line

MOST_BYTES = 64 * 10**9
"""What an archive may hold, unpacked."""
MOST_FILES = 500_000
LARGEST_RATIO = 200
"""Of unpacked to packed bytes in one file larger than `SMALL`: pictures hardly shrink, bombs do."""
SMALL = 10**6

_DRIVE = re.compile(r"^[A-Za-z]:")


def unpack(archive: Path, folder: Path, most_bytes: int = MOST_BYTES) -> int:
    """Unpack into a folder that does not exist yet; all entries are judged before the first is written.

    Args:
        archive: a ZIP file.
        folder: made here. After a failure what is in it is incomplete, and the caller's to remove.
        most_bytes: what the archive may hold, unpacked.

    Returns:
        How many files were written.

    Raises:
        InputError: not a ZIP file, damaged, encrypted, larger than allowed or than the disk has room for, or
            an entry that would be written outside the folder, is a link, or comes twice.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [(entry, _place(archive, entry)) for entry in opened.infolist() if not entry.is_dir()]
            _check_size(archive, folder, [entry for entry, _ in entries], most_bytes)
            places = [str(place).casefold() for _, place in entries]
            if len(set(places)) < len(places):
                twice = next(place for place in places if places.count(place) > 1)
                raise InputError(archive, f"refused: two entries are called {twice}")
            folder.mkdir()
            for entry, place in entries:
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)  # reads no more than the size that was judged
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(archive, "refused: an entry is both a file and a folder") from error
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise InputError(
            archive, f"not a whole ZIP archive ({first_line(error)}); remove it to fetch it anew"
        ) from error
    return len(entries)


def _place(archive: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    """Where an entry belongs, relative to the folder."""
    name = entry.orig_filename.replace("\\", "/")
    place = PurePosixPath(name)
    outside = place.is_absolute() or ".." in place.parts or _DRIVE.match(name) or not place.parts
    if outside or "\0" in name:
        raise InputError(archive, f"refused: its entry {name} would be written outside the folder")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise InputError(archive, f"refused: its entry {name} is a link or no plain file")
    if entry.flag_bits & 1:
        raise InputError(archive, f"refused: its entry {name} is encrypted")
    return place


def _check_size(archive: Path, folder: Path, entries: list[zipfile.ZipInfo], most_bytes: int) -> None:
    total = sum(entry.file_size for entry in entries)
    if total > most_bytes or len(entries) > MOST_FILES:
        raise InputError(
            archive,
            f"refused: it would unpack to {total / 1e9:.1f} GB in {len(entries)} files; "
            f"at most {most_bytes / 1e9:.1f} GB in {MOST_FILES} are taken",
        )
    for entry in entries:
        if entry.file_size > SMALL and entry.file_size > LARGEST_RATIO * entry.compress_size:
            reason = f"refused: its entry {entry.filename} grows {LARGEST_RATIO} times and more when unpacked"
            raise InputError(archive, reason)
    free = shutil.disk_usage(folder.parent).free
    if total > free:
        raise InputError(
            folder.parent, f"no space: {total / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
        )
