"""Copying an integration to where its editor finds it; what is there already stays unless told otherwise."""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from dereflect.editors import places
from dereflect.errors import OVERWRITE, InputError, first_line
from dereflect.files import writing

COMMAND, FOLDER = "@COMMAND@", "@FOLDER@"
"""What stands in the files for the path of the command, and for the folder that they are installed to."""


def _in_desktop_entry(path: str) -> str:
    """Within the quotation marks of ``Exec``, where each backslash is written twice once more."""
    return re.sub(r'["`$\\]', r"\\\g<0>", path).replace("\\", "\\\\").replace("%", "%%")


_QUOTED: dict[str, Callable[[str], str]] = {
    ".sh": lambda path: path.replace("'", "'\\''"),
    ".cmd": lambda path: path.replace("%", "%%"),
    ".desktop": _in_desktop_entry,
}
"""How a path is written within the quotation marks of each kind of file, by its extension."""

Files = tuple[tuple[str, str], ...]
"""Pairs of a file in ``integrations/`` and its name in the editor's folder."""


@dataclass(frozen=True)
class Integration:
    """What is installed for one editor.

    Attributes:
        summary: what it is, in a few words.
        places: gives the folders to install to.
        files: gives the files to install on this system.
        check: refuses a folder that a user names.
        finish: what else is to be done in the folder; gives what it did, in words.
    """

    summary: str
    places: Callable[[], list[Path]]
    files: Callable[[], Files]
    check: Callable[[Path], None] = lambda folder: None
    finish: Callable[[Path], str | None] = lambda folder: None


def install(integration: Integration, folder: Path, overwrite: bool = False) -> list[str]:
    """Copy the files of an integration to a folder.

    Args:
        integration: which.
        folder: the editor's folder; made if it is not there.
        overwrite: replace files that are there already and differ.

    Returns:
        What was done, in lines.

    Raises:
        InputError: a file is there already, or cannot be written. Nothing was written then.
    """
    command = str(own_command())
    folder = folder.absolute()
    contents = {}
    for source, name in integration.files():
        text = (source_folder() / source).read_text(encoding="utf-8")
        quoted = _QUOTED.get(Path(name).suffix, str)
        contents[folder / name] = text.replace(COMMAND, quoted(command)).replace(FOLDER, quoted(str(folder)))
    for path, text in contents.items():
        if os.path.lexists(path) and not overwrite and _text(path) != text:
            raise InputError(path, "exists already", remedy=OVERWRITE)
    for path, text in contents.items():
        with writing(path) as temporary:
            lines = "\r\n" if path.suffix == ".cmd" else "\n"
            temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline=lines)
            temporary.chmod(0o755)  # editors start only what may be run
    said = integration.finish(folder)
    return [f"wrote {path}" for path in contents] + ([said] if said else [])


def source_folder() -> Path:
    """The folder ``integrations/``: within the installed package, or beside the source."""
    packed = Path(str(files("dereflect"))) / "editors" / "files"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "integrations"


def own_command() -> Path:
    """Full path of the `dereflect` command of this installation.

    Raises:
        InputError: there is none, as where the package is run from its source.
    """
    name = "dereflect.exe" if sys.platform == "win32" else "dereflect"
    beside = Path(sysconfig.get_path("scripts")) / name
    found = beside if beside.is_file() else shutil.which("dereflect")
    if found is None:
        raise InputError(
            "dereflect", f"its command is neither in {beside.parent} nor on PATH; install the package"
        )
    return Path(found)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return None


def _require(folder: Path) -> str | None:
    """Let darktable load the script at its start: one line in ``luarc``, the rest of which stays."""
    luarc, line = folder / "luarc", 'require "dereflect"'
    try:
        before = luarc.read_bytes() if luarc.exists() else b""
    except OSError as error:
        raise InputError(luarc, f"cannot be read ({first_line(error)}); add the line {line}") from error
    if line.encode() in before.splitlines():
        return None
    with writing(luarc.resolve()) as temporary:  # which may be a link to where a user keeps such files
        gap = b"\n" if before and not before.endswith(b"\n") else b""
        temporary.write_bytes(before + gap + line.encode() + b"\n")
        if luarc.exists():
            shutil.copymode(luarc, temporary)
    return f"added the line {line} to {luarc}"


def _open_with() -> Files:
    if sys.platform == "win32":
        return (("open-with/windows/dereflect.cmd", "Separate reflection.cmd"),)
    if sys.platform == "darwin":
        return (("open-with/macos/dereflect-open.sh", "dereflect-open.sh"),)
    return (
        ("open-with/linux/dereflect.desktop", "dereflect.desktop"),
        ("open-with/linux/dereflect-open.sh", "dereflect-open.sh"),
    )


_GIMP = ("dereflect/dereflect.py", "dereflect/command.py", "dereflect/command.txt")

INTEGRATIONS = {
    "gimp": Integration(
        "GIMP 3: Filters > Enhance > Separate Reflection, both layers over the photo",
        places.gimp,
        lambda: tuple((f"gimp/{name}", name) for name in _GIMP),
        places.refuse_old_gimp,
    ),
    "darktable": Integration(
        "darktable: separated 16-bit TIFF beside the selected photos, grouped with them",
        places.darktable,
        lambda: (("darktable/dereflect.lua", "lua/dereflect.lua"),),
        finish=_require,
    ),
    "open-with": Integration(
        'file managers and digiKam: "Open with" on Linux, "Send to" on Windows',
        places.open_with,
        _open_with,
    ),
}
"""By the name that the command line takes."""
