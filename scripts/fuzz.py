"""Damage pictures, weights, recipes and manifests at random; each must be done, or refused in one line.

    python scripts/fuzz.py --pictures 10000 --others 1000 --seed 0
    python scripts/fuzz.py --seed 0 --only p4711 --keep FOLDER     # one case again, its file kept

A case is a file of some format, damaged in one of several ways, that is separated and written (or loaded, or
parsed) as the command line does it. Wrong is: an exception that is not an error of ours, an error of more
than one line, more than 10 seconds of processor time, more memory than the budget, a process that dies, an
output that cannot be read, and a file that is half there. A case depends on its seed and number alone.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / part) for part in ("src", "scripts", "tests/images", "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from damage import flip_bits, set_lengths, set_numbers, splicing, truncate  # noqa: E402
from measured import add_option, record  # noqa: E402
from PIL import Image  # noqa: E402

from dereflect import images  # noqa: E402
from dereflect.cli.scripts import run_script  # noqa: E402
from dereflect.errors import DereflectError, Unforeseen, fault_of  # noqa: E402
from dereflect.leftovers import is_temporary  # noqa: E402
from dereflect.methods.contract import Method, Traits  # noqa: E402
from dereflect.separator import Separator  # noqa: E402

SECONDS = 10.0
"""Processor time of one case."""
PATIENCE = 300.0
"""Seconds by the clock after which a case hangs, on a machine however busy."""
MAX_PIXELS = 20_000_000
BUDGET = 800_000_000
"""Bytes that a case may take beyond what the process holds before: 20 megapixels some times over."""


class Half(Method):
    """A stand-in for a network that costs nothing: reading and writing are what is tried here."""

    family = "half"
    traits = Traits()

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, blended, *, generator=None, progress=None):
        return blended / 2, blended / 2


# ---- What is damaged


def pictures() -> dict[str, bytes]:
    """Small whole pictures of every format and of many kinds, by file name."""
    import made

    values = made.photo()
    levels = np.rint(values * 255).astype(np.uint8)
    profile = made_profile()
    entries = [(0x010E, 2, b"a description\0"), (0x0112, 3, [6]), (0x011A, 5, [72])]
    exif = b"Exif\0\0" + made.exif("<", [*entries, (0x0132, 2, b"2020:01:01 00:00:00\0")], 6)
    swapped = b"Exif\0\0" + made.exif(">", entries)
    found: dict[str, bytes] = {}

    def save(name: str, mode: str = "RGB", **options: object) -> None:
        buffer = io.BytesIO()
        kind = Image.registered_extensions()[Path(name).suffix]
        with contextlib.suppress(KeyError, OSError):  # a Pillow without this format
            Image.fromarray(levels).convert(mode).save(buffer, kind, **options)
            found[name] = buffer.getvalue()

    Image.init()
    described = {"exif": exif, "icc_profile": profile}
    save("plain.jpg")
    save("described.jpg", **described, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", comment=b"a comment")
    save("progressive.jpeg", progressive=True, quality=70)
    save("grey.jpg", "L")
    save("print.jpg", "CMYK", icc_profile=profile)
    save("swapped.jpg", exif=swapped)
    save("plain.png")
    save("described.png", **described)
    for mode in ("L", "LA", "RGBA", "P", "1", "I;16"):
        save(f"{mode.replace(';', '')}.png", mode)
    save("plain.webp", quality=80, **described)
    save("exact.webp", "RGBA", lossless=True)
    save("plain.bmp")
    save("plain.gif", "P")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        save(f"{compression}.tif", compression=compression, **described)
    save("grey16.tiff", "I;16")
    save("plain.avif", **described)
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        save("plain.heic", exif=exif)
    deep = made.at_depth(made.grey(), 16)
    found["deep.png"] = made.png(made.at_depth(values, 16), 16)
    found["made.tif"] = made.tiff(deep, 16)
    found["motorola.tif"] = made.tiff(deep, 16, order=">")
    return found


def made_profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def others(folder: Path) -> dict[str, bytes]:
    """Weights, configurations, recipes and parts of a manifest, by file name."""
    from dereflect import recipes
    from dereflect.batch.manifest import FOLDER, NOTHING, Manifest
    from dereflect.batch.store import Store
    from dereflect.methods.default.method import DefaultMethod
    from dereflect.methods.default.network import DefaultConfig

    torch.manual_seed(0)
    method = DefaultMethod(DefaultConfig(widths=(8, 8, 8), head_width=8, encoder=""))
    method.save_pretrained(folder / "model")
    torch.save(method.state_dict(), folder / "model.pt")
    found = {f"model/{path.name}": path.read_bytes() for path in (folder / "model").iterdir()}
    found["weights.pt"] = (folder / "model.pt").read_bytes()
    found["weights.safetensors"] = found["model/model.safetensors"]
    for path in sorted(Path(recipes.__file__).parent.glob("*.yaml")):
        found[f"recipe-{path.stem}.yaml"] = path.read_bytes()
    manifest = Manifest(Store(folder / "batch"))
    for number in range(20):
        manifest.add(NOTHING | {"path": f"{number}.jpg", "state": "done", "finished": float(number)})
    manifest.flush()
    found["part.parquet"] = next((folder / "batch" / FOLDER).iterdir()).read_bytes()
    return found


# ---- What must hold


@dataclass(frozen=True)
class Case:
    """One damaged file."""

    number: str
    name: str
    damage: str
    content: bytes


def make_cases(kind: str, contents: dict[str, bytes], count: int, seed: int) -> Iterator[Case]:
    """The cases of a kind (``p``: pictures, ``o``: others); any of them can be made without the others."""
    damages = {
        "bits": flip_bits,
        "cut": truncate,
        "numbers": set_numbers,
        "lengths": set_lengths,
        "spliced": splicing(list(contents.values())),
    }
    names = sorted(contents)
    for index in range(count):
        chance = random.Random(f"{seed} {kind}{index}")
        name, damage = names[index % len(names)], chance.choice(sorted(damages))
        yield Case(f"{kind}{index}", name, damage, damages[damage](chance, contents[name]))


def try_picture(separator: Separator, case: Case, folder: Path) -> None:
    path, target = folder / case.name, folder / "out"
    path.write_bytes(case.content)
    result = separator(path)
    written = result.save(target)
    result.losses(written)
    for output in written.values():
        images.read(output)


def try_other(sound: dict[str, bytes], case: Case, folder: Path) -> None:
    from dereflect import load
    from dereflect.batch.manifest import FOLDER, Manifest
    from dereflect.batch.store import Store
    from dereflect.training.recipe import load_recipe
    from dereflect.weights import read_checkpoint

    path = folder / case.name
    if case.name == "part.parquet":
        path = folder / FOLDER / case.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case.content)
    if case.name.startswith("model/"):
        for name, content in sound.items():
            if name.startswith("model/") and name != case.name:
                (folder / name).write_bytes(content)
        load(folder / "model", device="cpu")
    elif path.suffix == ".yaml":
        load_recipe(path)
    elif path.suffix == ".parquet":
        Manifest(Store(folder)).read()
        Manifest(Store(folder)).table().to_pylist()
    else:
        read_checkpoint(path)
        load(path, device="cpu")


def fault(attempt: Callable[[Case, Path], None], case: Case, folder: Path) -> tuple[str, str]:
    """(what became of a case, what is wrong with that: "" if nothing)."""
    before = _peak(reset=True)
    try:
        attempt(case, folder)
        became, wrong = "done", ""
    except DereflectError as error:
        became, line = "refused", error.line()
        wrong = f"more than a line: {line!r}" if "\n" in line or not line.strip() else ""
        if isinstance(error, Unforeseen):
            wrong = f"unforeseen: {line}"
    except Exception as error:
        became, wrong = "refused", f"unforeseen: {fault_of(error, case.name).line()}\n{where(error)}"
    left = [str(path.relative_to(folder)) for path in folder.rglob("*") if is_temporary(path.name)]
    outputs = list((folder / "out").glob("*")) if (folder / "out").exists() else []
    if left or (became == "refused" and outputs):
        wrong = wrong or f"left behind: {left or [path.name for path in outputs]}"
    more = _peak() - before
    if more > BUDGET:
        wrong = wrong or f"took {more / 1e6:.0f} MB"
    return became, wrong


def where(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error)[-6:])


def _peak(reset: bool = False) -> int:
    """Most bytes that the process has held; `reset` begins anew, where the system can."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# ---- A process that may hang or die


def run(
    attempt: Callable[[Case, Path], None], cases: list[Case], folder: Path
) -> Iterator[tuple[Case, str, str]]:
    """What became of each case, and what is wrong; one that hangs or dies does so in a process of its own."""
    waiting = list(cases)
    while waiting:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            _work(attempt, waiting, folder, writing)
        os.close(writing)
        with os.fdopen(reading, "rb", 0) as lines:
            yield from _watch(child, lines, waiting)


def _work(attempt: Callable[[Case, Path], None], cases: list[Case], folder: Path, out: int) -> None:
    try:
        torch.set_num_threads(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)  # what C libraries say
        warnings.simplefilter("ignore")
        for case in cases:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            told = json.dumps(fault(attempt, case, folder))
            os.write(out, told.encode() + b"\n")
    finally:
        os._exit(0)


def _watch(child: int, lines: io.RawIOBase, waiting: list[Case]) -> Iterator[tuple[Case, str, str]]:
    begun, spent = time.monotonic(), 0.0
    kept = b""
    while waiting:
        ready, _, _ = select.select([lines], [], [], 1.0)
        if ready:
            some = lines.read(65536)
            if not some:
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                if waiting:
                    yield waiting.pop(0), "died", f"its process died ({status})"
                return
            *told, kept = (kept + some).split(b"\n")
            for line in told:
                became, wrong = json.loads(line)
                yield waiting.pop(0), became, wrong
            begun, spent = time.monotonic(), _processor_time(child)
        elif _processor_time(child) - spent > SECONDS or time.monotonic() - begun > PATIENCE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            yield waiting.pop(0), "hung", f"more than {SECONDS:.0f} s"
            return
    os.waitpid(child, 0)


def _processor_time(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--others", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="CASE", help="try this case alone, e.g. p17")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="put files of cases that go wrong here")
    add_option(parser, "fuzz")
    options = parser.parse_args()
    wrong, rows = 0, []
    with tempfile.TemporaryDirectory() as parent:
        separator = Separator(Half(), name="half", device="cpu", dtype="float32", max_pixels=MAX_PIXELS)
        sound = others(Path(parent, "sound"))
        plans = [
            SimpleNamespace(kind="p", count=options.pictures, contents=pictures(),
                            attempt=lambda case, folder: try_picture(separator, case, folder)),
            SimpleNamespace(kind="o", count=options.others, contents=sound,
                            attempt=lambda case, folder: try_other(sound, case, folder)),
        ]  # fmt: skip
        for plan in plans:
            cases = list(make_cases(plan.kind, plan.contents, plan.count, options.seed))
            if options.only:
                cases = [case for case in cases if case.number == options.only]
            counts: Counter[str] = Counter()
            for case, became, fault_told in run(plan.attempt, cases, Path(parent, "case")):
                counts[became] += 1
                if fault_told:
                    wrong += 1
                    print(f"{case.number} {case.name} ({case.damage}): {fault_told}", flush=True)
                if options.keep and (fault_told or options.only):
                    options.keep.mkdir(parents=True, exist_ok=True)
                    kept = options.keep / f"{case.number}-{case.name.replace('/', '-')}"
                    kept.write_bytes(case.content)
            told = ", ".join(f"{count} {became}" for became, count in sorted(counts.items()))
            what = "pictures" if plan.kind == "p" else "weights, recipes and manifests"
            bad = sum(count for became, count in counts.items() if became in ("died", "hung"))
            rows.append(
                {
                    "what": what,
                    "formats": len({Path(name).suffix for name in plan.contents}),
                    "files": len(cases),
                }
                | {"done": counts["done"], "refused": counts["refused"], "died_or_hung": bad}
            )
            print(f"{len(cases)} {what}: {told or 'none'}", flush=True)
    if options.only and not any(row["files"] for row in rows):
        parser.error(f"--only {options.only}: no such case among so many")
    print(f"{wrong} wrong")
    record(options, {"seed": options.seed, "rows": rows, "wrong": wrong})
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    run_script(main)
