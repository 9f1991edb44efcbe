"""Train the recipe of the default model on a machine with a GPU and nothing to fetch, in short calls.

    python scripts/train_on_gpu.py PACKED RUN --minutes 9 --pieces OUT [KEY=VALUE ...]

PACKED is of scripts/pack_training_data.py. Photos are put behind glass on the GPU. A call goes on where the
last one stopped (RUN keeps the checkpoints); its last act is to write the model's weights into OUT, in pieces
of at most 15 MB. Back home:

    python scripts/train_on_gpu.py --join OUT MODEL_FOLDER
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch

from dereflect.cli.scripts import run_script
from dereflect.training.recipe import load_recipe
from dereflect.training.trainer import prepare

PIECE = 15_000_000
SETTINGS = (
    "settings.held_out_every=0",
    "settings.validate_on=[validation/print, validation/sharp, validation/night, synthetic100]",
    "settings.short_side=256",
    "settings.grow={}",
    "crop=224",
    "batch_size=32",
    "steps=62500",  # two million crops
    "learning_rate=1.0e-3",
    "workers=12",
    "device=auto",
    "checkpoint_minutes=4",
    "log_every=100",
)


def main() -> None:
    if sys.argv[1:2] == ["--join"]:
        joining = argparse.ArgumentParser()
        joining.add_argument("--join", nargs=2, type=Path, metavar=("OUT", "MODEL_FOLDER"))
        join(*joining.parse_args().join)
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packed", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0, help="of this call; stops with a checkpoint")
    parser.add_argument("--pieces", type=Path, required=True, help="folder that comes back")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="of the recipe")
    options = parser.parse_intermixed_args()
    compiled = f"compile={str(torch.cuda.is_available()).lower()}"
    own = [f"data={options.packed}", f"output={options.run}", f"stop_minutes={options.minutes}", compiled]
    trainer = prepare(load_recipe("default", [*SETTINGS, *own, *options.changes]))
    model = trainer.run()
    split(model, options.pieces)
    shutil.copy(options.run / "log.jsonl", options.pieces / "log.jsonl")
    print(f"step {trainer.step} of {trainer.total_steps}; the model in pieces: {options.pieces}")


def split(model: Path, pieces: Path) -> None:
    """Write config.json, and model.safetensors in pieces."""
    pieces.mkdir(parents=True, exist_ok=True)
    shutil.copy(model / "config.json", pieces / "config.json")
    content = (model / "model.safetensors").read_bytes()
    for number, start in enumerate(range(0, len(content), PIECE)):
        (pieces / f"model.safetensors.{number:02d}").write_bytes(content[start : start + PIECE])


def join(pieces: Path, model: Path) -> None:
    """Put the pieces together again."""
    model.mkdir(parents=True, exist_ok=True)
    shutil.copy(pieces / "config.json", model / "config.json")
    parts = sorted(pieces.glob("model.safetensors.*"))
    (model / "model.safetensors").write_bytes(b"".join(part.read_bytes() for part in parts))


if __name__ == "__main__":
    run_script(main)
