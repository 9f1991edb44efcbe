"""Kill runs at random moments, run them again, and see that nothing is lost, double, half-written or left.

    python scripts/kill.py --kills 100 --seed 0
    python scripts/kill.py --kills 20 separate video

Of each verb, an unbroken run gives the truth. Then each run gets a SIGKILL at a random moment of that time.
What lies there must be whole; the same run once more must end well, and leave what the unbroken run left.
Runs are forks of this process, which has imported everything, so that moments fall within the work.
"""

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("src", "tests/training", "tests/video", "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from measured import add_option, read, record  # noqa: E402
from PIL import Image  # noqa: E402

from dereflect.cli.scripts import run_script  # noqa: E402

PHOTOS = 8


@dataclass
class Verb:
    """A kind of run.

    Attributes:
        prepare: makes the inputs in an empty folder.
        run: does the work within that folder; returns the exit code.
        outputs: what must come out, by name, in a form that can be compared.
        halves: names of files that are there after a kill, and not whole.
    """

    prepare: Callable[[Path], None]
    run: Callable[[Path], int]
    outputs: Callable[[Path], dict[str, object]]
    halves: Callable[[Path, dict[str, object]], list[str]]


def command(*words: object) -> int:
    from dereflect.cli import main

    sys.argv = ["dereflect", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_model(folder: Path) -> None:
    from dereflect.methods.default.method import DefaultMethod
    from dereflect.methods.default.network import DefaultConfig

    torch.manual_seed(0)
    DefaultMethod(DefaultConfig(widths=(8, 8, 8), head_width=8, encoder="")).save_pretrained(folder / "model")


def make_photos(folder: Path) -> None:
    make_model(folder)
    chance = np.random.default_rng(0)
    for index in range(PHOTOS):
        path = folder / "in" / ("sub" if index % 2 else "") / f"{index}.{'png' if index % 3 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (150, 200, 3), dtype=np.uint8)).save(path)


def unlike(expected: dict[str, object], found: dict[str, bytes]) -> list[str]:
    """Names of finished outputs that are not what they must be."""
    return [name for name, content in found.items() if name in expected and content != expected[name]]


def separate(folder: Path) -> int:
    target = folder / "in" / "out"
    words = ["--skip-existing", "--model", folder / "model", "--device", "cpu", "-q"]
    return command("separate", folder / "in", "-r", "-o", target, *words)


def beside(folder: Path) -> int:
    words = ["--skip-existing", "--model", folder / "model", "--device", "cpu", "-q"]
    return command("separate", folder / "in", "-r", *words)


def batch(folder: Path) -> int:
    words = ["--model", folder / "model", "--device", "cpu", "--address", "none", "-q"]
    return command("batch", folder / "in", folder / "out", *words)


def batch_outputs(folder: Path) -> dict[str, object]:
    from dereflect.batch.manifest import Manifest
    from dereflect.batch.store import Store

    found: dict[str, object] = {
        name: content
        for name, content in files(folder / "out").items()
        if not name.startswith("_dereflect/manifest/")
    }
    rows = Manifest(Store(folder / "out")).table().to_pylist()
    found["rows"] = [(row["path"], row["state"], row["transmission_sha256"]) for row in rows]
    return found


def make_film(folder: Path) -> None:
    from films import write_film

    make_model(folder)
    write_film(folder / "in.mp4", count=16)


def video(folder: Path) -> int:
    words = ["--model", folder / "model", "--device", "cpu", "--chunk", 4, "--steady", 1, "-q"]
    code = command("video", folder / "in.mp4", folder / "out.mp4", *words)
    # A run that was killed after its film was whole and its parts were gone has nothing left to do.
    return (
        0 if code == 2 and (folder / "out.mp4").exists() and not (folder / "out.mp4.parts").exists() else code
    )


def beside_inputs(folder: Path) -> dict[str, object]:
    return {name: content for name, content in files(folder).items() if not name.startswith("model/")}


def train(folder: Path) -> int:
    from toy import ToyObjective

    from dereflect.files import writing
    from dereflect.training.recipe import parse_recipe
    from dereflect.training.trainer import Trainer

    class Whole(ToyObjective):
        def export(self, folder: str) -> None:
            with writing(Path(folder) / "weights.pt") as temporary:
                torch.save(self.networks["model"].state_dict(), temporary)

    schedule = {"steps": 20, "batch_size": 2, "ema": 0.9, "device": "cpu", "log_every": 1}
    schedule["checkpoint_minutes"] = 1e-9  # after every step
    content = {"objective": "default", "output": str(folder / "run"), "data": "unused", "schedule": schedule}
    Trainer(parse_recipe(content), Whole()).run()
    return 0


def make_training_data(folder: Path) -> None:
    chance = np.random.default_rng(1)
    names = {"photos": 24, "pairs/blended": 6, "pairs/transmission_layer": 6}
    for name, count in names.items():
        (folder / "data" / name).mkdir(parents=True)
        for index in range(count):
            small = Image.fromarray(chance.integers(0, 256, (9, 12, 3), dtype=np.uint8))
            small.resize((96, 72), Image.Resampling.BICUBIC).save(folder / "data" / name / f"{index}.png")


def train_default(folder: Path) -> int:
    """The recipe of the default model, with its own objective and synthesis: smaller and shorter."""
    from dereflect.training.recipe import load_recipe
    from dereflect.training.trainer import prepare

    network = (
        "{widths: [8, 8, 8], encoder_blocks: [1, 1, 1], decoder_blocks: [1, 1], head_width: 8, encoder: }"
    )
    changes = [
        *(f"output={folder / 'run'}", f"data={folder / 'data'}", "steps=6", "batch_size=2", "crop=32"),
        *("settings.grow={6: 64}", "held_out_pairs=['0']", f"settings.network={network}", "log_every=1"),
        "checkpoint_minutes=1.0e-9",
    ]
    prepare(load_recipe("default", changes)).run()
    return 0


def tensors(value: object) -> object:
    """Numbers in place of tensors, so that states can be compared."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: tensors(inner) for key, inner in value.items()}
    return [tensors(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def train_outputs(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in (folder / "run").rglob("*"):
        name = str(path.relative_to(folder / "run"))
        if name.startswith("tensorboard"):
            continue
        if path.suffix == ".pt":
            found[name] = tensors(torch.load(path, weights_only=True))
        elif path.name == "log.jsonl":
            # Speeds apart, a record tells of the training alone.
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [[line["step"], line.get("loss")] for line in lines]
        elif path.suffix == ".safetensors":
            found[name] = path.read_bytes()
        elif path.is_file():
            found[name] = path.read_text().replace(str(folder), "")
        else:
            found[name] = "folder"
    for value in found.values():
        if isinstance(value, dict):
            value.pop("recipe", None)  # holds the folder's name
    return found


def train_halves(folder: Path, expected: dict[str, object]) -> list[str]:
    bad = []
    for path in (folder / "run").rglob("*.pt"):
        if not path.name.startswith("."):
            try:
                torch.load(path, weights_only=True)
            except Exception:
                bad.append(path.name)
    recipe = folder / "run" / "recipe.json"
    if recipe.exists():
        try:
            json.loads(recipe.read_text())
        except ValueError:
            bad.append(recipe.name)
    return bad


VERBS = {
    "separate": Verb(make_photos, separate, beside_inputs, lambda f, e: unlike(e, files(f))),
    "beside": Verb(make_photos, beside, beside_inputs, lambda f, e: unlike(e, files(f))),
    "batch": Verb(make_photos, batch, batch_outputs, lambda f, e: unlike(e, files(f / "out"))),
    "video": Verb(make_film, video, beside_inputs, lambda f, e: unlike(e, files(f))),
    "train": Verb(lambda folder: None, train, train_outputs, train_halves),
    "recipe": Verb(make_training_data, train_default, train_outputs, train_halves),
}


def fork(work: Callable[[Path], int], folder: Path) -> int:
    """Start a run in a process of its own, which says nothing; returns its number."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        log = os.open(folder / ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(nowhere, 1)
        os.dup2(log, 2)
        torch.set_num_threads(1)
        code = work(folder)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def result(verb: Verb, folder: Path) -> dict[str, object]:
    outputs = verb.outputs(folder)
    outputs.pop(".log", None)
    return outputs


def end(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_one(
    verb: Verb, source: Path, folder: Path, delay: float, expected: dict[str, object]
) -> tuple[bool, str]:
    """Kill one run and repeat it; whether it was killed at work, and what is wrong ("" if nothing)."""
    shutil.copytree(source, folder)
    process = fork(verb.run, folder)
    time.sleep(delay)
    os.kill(process, signal.SIGKILL)
    killed = end(process) == -signal.SIGKILL
    halves = verb.halves(folder, expected)
    if halves:
        return killed, f"half-written: {halves}"
    code = end(fork(verb.run, folder))
    if code:
        return killed, f"the next run ended with {code}: {(folder / '.log').read_text()[-2000:]}"
    found = result(verb, folder)
    lost = sorted(expected.keys() - found.keys())
    left = sorted(found.keys() - expected.keys())
    other = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    told = [f"{name} ({difference(name, expected[name], found[name])})" for name in other]
    return killed, ", ".join(
        f"{what}: {names}" for what, names in (("lost", lost), ("left", left), ("other", told)) if names
    )


def difference(name: str, expected: object, found: object) -> str:
    """How two outputs of one name differ: of films, whether in what is seen or only in the file around it."""
    if not (isinstance(expected, bytes) and isinstance(found, bytes)):
        return "other values"
    if not name.endswith((".mp4", ".mkv")):
        return f"{len(expected)} and {len(found)} bytes"
    with tempfile.TemporaryDirectory() as folder:
        one, two = (decoded(Path(folder, name), content) for content in (expected, found))
    if len(one) != len(two):
        return f"{len(one)} and {len(two)} frames"
    steps = {
        number: int(np.abs(a.astype(int) - b).max())
        for number, (a, b) in enumerate(zip(one, two, strict=True))
        if a.shape != b.shape or (a != b).any()
    }
    return f"decoded frames differ by steps of 255: {steps}" if steps else "other bytes, equal decoded frames"


def decoded(path: Path, content: bytes) -> list[np.ndarray]:
    """The frames of a film, as the decoder gives them."""
    import av

    path.write_bytes(content)
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def kill_many(name: str, kills: int, seed: int) -> dict[str, object]:
    """Kill runs of one verb; prints what is wrong, and returns the counts."""
    verb, chance = VERBS[name], random.Random(f"{seed} {name}")
    wrong = killed = 0
    with tempfile.TemporaryDirectory() as parent:
        source, truth = Path(parent, "source"), Path(parent, "truth")
        source.mkdir()
        verb.prepare(source)
        for _ in range(2):  # the first is slower
            shutil.rmtree(truth, ignore_errors=True)
            shutil.copytree(source, truth)
            started = time.perf_counter()
            code = end(fork(verb.run, truth))
            seconds = time.perf_counter() - started
            assert code == 0, (truth / ".log").read_text()
        expected = result(verb, truth)
        for number in range(kills):
            folder = Path(parent, "run")
            at_work, fault = kill_one(verb, source, folder, chance.uniform(0, 1.05 * seconds), expected)
            killed += at_work
            if fault:
                wrong += 1
                print(f"{name} {number}: {fault}", flush=True)
            shutil.rmtree(folder)
    print(f"{name}: {kills} runs of {seconds:.2f} s, {killed} killed at work, {wrong} wrong", flush=True)
    return {"verb": name, "kills": kills, "at_work": killed, "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verbs", nargs="*", metavar="VERB", help=", ".join(VERBS))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    add_option(parser, "kills")
    options = parser.parse_args()
    if unknown := [name for name in options.verbs if name not in VERBS]:
        parser.error(f"{unknown[0]}: no such verb; one of {', '.join(VERBS)}")
    torch.set_num_threads(1)
    for module in (
        "pyarrow.parquet",
        "fsspec.implementations.local",
        "av",
        "cv2",
        "accelerate",
        "torch.utils.tensorboard",
    ):
        importlib.import_module(module)
    for module in ("cli.run", "separator", "batch", "video", "training.trainer", "methods.default.objective"):
        importlib.import_module(f"dereflect.{module}")

    rows = {row["verb"]: row for row in read().get(options.record, {}).get("values", {}).get("rows", [])}
    done = [kill_many(name, options.kills, options.seed) for name in options.verbs or VERBS]
    rows |= {row["verb"]: row for row in done}
    record(options, {"rows": [rows[name] for name in VERBS if name in rows]})
    sys.exit(1 if any(row["wrong"] for row in done) else 0)


if __name__ == "__main__":
    run_script(main)
