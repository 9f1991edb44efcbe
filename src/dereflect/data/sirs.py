"""The XReflection toolbox's archive of the field's training and test sets: fetched, unpacked, put in order.

We could not look into the archive. So its sets are found by what their folders hold and are called, and put
where recipes (``train/``) and ``dereflect evaluate`` (``test/``) look; what is not known stays in ``other/``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dereflect.data.layouts import read_data_set, recognise
from dereflect.data.pairs import BLENDED, TRANSMISSION
from dereflect.data.unpacking import unpack
from dereflect.downloads import ReportBytes, fetch, sha256
from dereflect.errors import InputError, ModelError, Option, Remedy
from dereflect.files import write_text, writing
from dereflect.images import PICTURE_SUFFIXES

URL = "https://checkpoints.mingjia.li/sirs.zip"
TERMS = (
    (
        "VOC2012 pictures, cropped",
        "Everingham et al.; Flickr's terms of use hold for its photos: host.robots.ox.ac.uk/pascal/VOC",
    ),
    (
        "real: Real89 and Real20",
        "Zhang et al., CVPR 2018: no licence known to us; GitHub ceciliavision/perceptual-reflection-removal",
    ),
    ("nature", "Li et al., CVPR 2020: no licence known to us; GitHub JHL-HUST/IBCLN"),
    ("SIR2", "Wan et al., ICCV 2017: given on request by the benchmark's page sir2data.github.io"),
)
"""Whose pictures are in it, and on what terms, as far as we know; ask there before you use them."""
CACHED = "sirs.zip"
MOST_TEST_PAIRS = 50
"""Folders of one name are the training part above this: Real20 and Nature's 20, against 89 and 200."""
PHOTOS = 100
"""So many pictures in one folder that has to do with VOC are the photos to put behind glass."""


def notice(url: str = URL) -> str:
    """What would be fetched, from where, and on whose terms."""
    sets = "; ".join(f"{name} ({terms})" for name, terms in TERMS)
    return f"{url}, size and checksum not published. It holds {sets}"


def download_sirs(
    folder: Path,
    cache: Path,
    yes: bool,
    say: Callable[[str], None],
    report: ReportBytes | None = None,
    *,
    archive: Path | None = None,
    url: str = URL,
) -> list[str]:
    """Fetch the archive, resumed where it was cut, and unpack it into a new folder, whole or not at all.

    Args:
        folder: where to; must not be there yet.
        cache: folder that keeps the archive until it is unpacked.
        yes: the user's consent to fetching, and to the terms.
        say, report: told what happens, and how far the archive is.
        archive: the archive, where it is on this machine already; it is left as it is.
        url: of the archive.

    Returns:
        What was found, one line a set.

    Raises:
        InputError: `folder` is there already, the archive is not or cannot be unpacked.
        ModelError: no consent, or the download failed.
    """
    if os.path.lexists(folder):
        raise InputError(folder, "is there already; give another folder, or remove it")
    if archive is not None and not archive.is_file():
        raise InputError(archive, "no such file")
    if not yes:
        remedy = Remedy("give {} to agree", Option("yes", True))
        verb = "fetch and unpack" if archive is None else f"unpack {archive}, which is"
        raise ModelError("sirs", f"this would {verb} {notice(url)}", remedy=remedy)
    if archive is None:
        say(f"fetching {url}")
    source = archive or fetch(url, cache / CACHED, report=report)
    say(f"unpacking to {folder}")
    with writing(folder, overwrite=False) as temporary:
        temporary.mkdir()
        unpack(source, temporary / "other")
        found = arrange(temporary)
        write_text(f"{sha256(source)}  {source.name}\n", temporary / f"{CACHED}.sha256")
    if archive is None:
        source.unlink()
    return found


def arrange(folder: Path) -> list[str]:
    """Move the sets found in ``other/`` to their places in ``train/`` and ``test/``; see the module.

    Returns:
        One line a set: its place, and what it holds.
    """
    lines = []
    for path in sorted(path for path in (folder / "other").rglob("*") if path.is_dir()):
        if not path.is_dir():  # moved with the folder around it
            continue
        place, words = _place_of(path, str(path.relative_to(folder)))
        target = folder / place
        if place and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
            lines.append(f"{place}: {words}")
    _remove_empty(folder / "other")
    return sorted(lines)


def _place_of(path: Path, within: str) -> tuple[str, str]:
    """Where a folder, called `within` in the archive, belongs, "" if that is not known, and what it holds."""
    layout = recognise(path)
    has_pairs = (path / BLENDED).is_dir() and (path / TRANSMISSION).is_dir()
    if has_pairs or (layout is not None and layout.name.startswith("sir2-")):
        try:
            pairs = len(read_data_set(path).pairs)
        except InputError:
            return "", ""
        name = path.name.lower()
        if layout is not None and layout.name.startswith("sir2-"):
            return f"test/{layout.name}", f"{pairs} pairs, {layout.title}"
        kind = "nature" if "nature" in name else "real" if "real" in name else ""
        if kind and pairs > MOST_TEST_PAIRS:
            return f"train/{kind}", f"{pairs} pairs to train with"
        if kind:
            size = "_420" if kind == "real" and "420" in name else ""
            return f"test/{kind}20{size}", f"{pairs} pairs to test with"
        return "", ""
    if "voc" in within.lower():
        pictures = sum(file.suffix.lower() in PICTURE_SUFFIXES for file in path.iterdir())
        if pictures >= PHOTOS:
            return "train/photos", f"{pictures} pictures to put behind glass"
    return "", ""


def _remove_empty(folder: Path) -> None:
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()
