"""Running the `dereflect` command and listening to it; knows nothing of GIMP."""

import contextlib
import json
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

LAYERS = ("transmission", "reflection")
NOTE = "command.txt"
"""Beside this file: where the command is that installed the plug-in."""
USUAL = ("~/.local/bin", "/opt/homebrew/bin", "/usr/local/bin")
"""Where commands lie that a program started from a menu does not find on its PATH."""
_FOLDER = re.compile(r"dereflect-gimp-(\d+)-\w+")
_DAY = 24 * 60 * 60


class Failed(Exception):  # noqa: N818 - reads as what it says
    """It could not be done; one line says why and what to do."""


class Stopped(Exception):  # noqa: N818 - as above
    """It was stopped before its end."""


def find_command(setting, folder):
    """Full path of the command: as set, or the one that installed the plug-in, or that on PATH.

    Args:
        setting: a path or a name; empty for the other two.
        folder: of the plug-in.
    """
    setting = setting.strip()
    if setting:
        found = shutil.which(os.path.expanduser(setting))
        if found is None:
            raise Failed(f"{setting}: no such command; correct Command in the dialog or leave it empty")
        return found
    with contextlib.suppress(OSError):
        noted = shutil.which((folder / NOTE).read_text(encoding="utf-8").strip())
        if noted is not None:
            return noted
    places = [os.environ.get("PATH", ""), *map(os.path.expanduser, USUAL)]
    found = shutil.which("dereflect", path=os.pathsep.join(places))
    if found is None:
        inside = " that this Flatpak can see" if os.path.exists("/.flatpak-info") else ""
        raise Failed(f"no dereflect command{inside} on PATH; install it, or give its path as Command")
    return found


@contextlib.contextmanager
def working_folder():
    """A folder for one run; those of runs that were killed are removed."""
    root = Path(tempfile.gettempdir())
    for left in root.glob("dereflect-gimp-*"):
        if _is_left(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"dereflect-gimp-{os.getpid()}-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder):
    found = _FOLDER.fullmatch(folder.name)
    if found is None:
        return False
    with contextlib.suppress(OSError):
        if time.time() - folder.stat().st_mtime > _DAY:
            return True
    if sys.platform == "win32":  # where asking after a process would end it
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


class Job:
    """One run of `dereflect separate` on one file.

    Args:
        command: its path.
        photo: the file.
        folder: where its outputs go.
        words: options.
        further: more options, as written on a command line.
    """

    def __init__(self, command, photo, folder, words, further=""):
        try:
            further = shlex.split(further, posix=sys.platform != "win32")
        except ValueError as error:
            raise Failed(f"Further options: {error}") from error
        fixed = ["-o", str(folder), "--format", "png", "--json", "--quiet", "--progress", "json"]
        self.words = [command, "separate", str(photo), *words, *further, *fixed, "--while", "-"]
        self._photo, self._folder = photo, folder
        self.outputs = {}
        """Files by layer, once it has run."""

    def run(self, name):
        """Run it; gives again and again how much is done, from 0 to 1.

        Args:
            name: what the user calls the photo, for errors.
        """
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        try:
            process = subprocess.Popen(
                self.words,
                stdin=subprocess.PIPE,  # its end stops the command, also where this process is killed
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                encoding="utf-8",
                errors="replace",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise Failed(f"{self.words[0]}: cannot be run ({error.strerror})") from error
        try:
            said = _Said(process)
            yield from said.shares()
            self._conclude(process.wait(), said, name)
        finally:
            _end(process)

    def _conclude(self, code, said, name):
        if code == 130:
            raise Stopped
        for result in said.results:
            if result.get("status") == "failed":
                about = "" if result.get("input") is None else f"{name}: "  # else a fault of the whole run
                raise Failed(about + result["error"])
        written = {layer: self._folder / f"{self._photo.stem}_{layer}.png" for layer in LAYERS}
        self.outputs = {layer: path for layer, path in written.items() if path.is_file()}
        if code or not self.outputs:
            last = said.lines[-1].removeprefix("dereflect: ") if said.lines else f"exit code {code}"
            raise Failed(last)


class _Said:
    """What a process writes: results on standard output, progress and errors on standard error."""

    def __init__(self, process):
        self.results, self.lines, self._shares = [], [], queue.Queue()
        self._readers = [
            threading.Thread(target=self._read_results, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._read_lines, args=(process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def shares(self):
        """How much is done, at least ten times a second, until the process ends its lines."""
        share = 0.0
        while any(reader.is_alive() for reader in self._readers):
            with contextlib.suppress(queue.Empty):
                share = self._shares.get(timeout=0.1)
            yield share

    def _read_results(self, stream):
        for line in stream:
            with contextlib.suppress(ValueError):
                self.results.append(json.loads(line))

    def _read_lines(self, stream):
        for line in stream:
            try:
                self._shares.put(float(json.loads(line)["progress"]))
            except (ValueError, KeyError, TypeError):
                self.lines.append(line.strip())


def _end(process):
    """End a process that is still at work: it has some seconds to leave nothing behind."""
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
