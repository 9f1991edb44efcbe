"""Where editors and file managers look for what is installed for one user."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from dereflect.errors import InputError, Remedy

GIMP = 3
"""The oldest GIMP whose plug-in interface the plug-in speaks."""
_VERSION = re.compile(r"(\d+)\.\d+")


def gimp() -> list[Path]:
    """The plug-in folders of every GIMP 3 that was started here once.

    Raises:
        InputError: there is none, but perhaps one of version 2.
    """
    roots = [_settings() / "GIMP"]
    if sys.platform == "linux":
        roots += [
            Path.home() / ".var/app/org.gimp.GIMP/config/GIMP",
            Path.home() / "snap/gimp/current/.config/GIMP",
        ]
    found = {
        folder: version for root in roots for folder in _folders(root) if (version := _major(folder.name))
    }
    new = [folder / "plug-ins" for folder, version in found.items() if version >= GIMP]
    if new:
        return new
    start = Remedy("start GIMP 3 once, or name its plug-in folder with {}", "to")
    if found:
        names = " and ".join(sorted({f"GIMP {folder.name}" for folder in found}))
        raise InputError("gimp", f"only {names} was used here, and the plug-in needs GIMP 3", remedy=start)
    raise InputError("gimp", f"no settings of GIMP 3 in {roots[0]}", remedy=start)


def refuse_old_gimp(folder: Path) -> None:
    """Refuse a plug-in folder that is plainly of GIMP 2.

    Raises:
        InputError: it is.
    """
    for part, after in zip(folder.parts, folder.parts[1:], strict=False):
        version = _major(after)
        if part == "GIMP" and version is not None and version < GIMP:
            raise InputError(
                folder, f"is a folder of GIMP {after}, and the plug-in needs GIMP 3", option="to"
            )


def darktable() -> list[Path]:
    """The settings folder of darktable.

    Raises:
        InputError: it was never started here.
    """
    folders = [_local() / "darktable" if sys.platform == "win32" else _config() / "darktable"]
    if sys.platform == "linux":
        folders.append(Path.home() / ".var/app/org.darktable.Darktable/config/darktable")
    found = [folder for folder in folders if folder.is_dir()]
    if not found:
        remedy = Remedy("start darktable once, or name its settings folder with {}", "to")
        raise InputError("darktable", f"no settings of darktable in {folders[0]}", remedy=remedy)
    return found


def open_with() -> list[Path]:
    """Where the desktop looks for programs that open files.

    Raises:
        InputError: on macOS, where Automator makes such an action.
    """
    if sys.platform == "win32":
        return [_settings() / "Microsoft" / "Windows" / "SendTo"]
    if sys.platform == "darwin":
        reason = "macOS takes the script by Automator, as docs/integrations/open_with.md says"
        raise InputError("open-with", reason, remedy=Remedy("{} writes it to a folder", "to"))
    return [Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "applications"]


def _settings() -> Path:
    """Where ordinary programs of this system keep a user's settings."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData/Roaming")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return _config()


def _config() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _local() -> Path:
    return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return []


def _major(name: str) -> int | None:
    found = _VERSION.fullmatch(name)
    return int(found[1]) if found else None
