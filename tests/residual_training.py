"""Pictures that the trainings of RDNet, DSIT and DSRNet share, and checks of the latter two."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dereflect.training.recipe import Recipe, load_recipe
from dereflect.training.trainer import prepare

PERCEPTUAL = [1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5]


def make_data(folder: Path) -> Path:
    """Six photos, and two pairs each of real and nature."""
    random = np.random.default_rng(0)

    def picture(place: Path, number: int) -> None:
        place.mkdir(parents=True, exist_ok=True)
        pixels = (random.random((6, 7, 3)) * 255).astype(np.uint8)
        Image.fromarray(pixels).resize((70, 66)).save(place / f"{number}.png")

    for number in range(6):
        picture(folder / "photos", number)
    for name in ("real", "nature"):
        for number in range(2):
            picture(folder / name / "blended", number)
            picture(folder / name / "transmission_layer", number)
    return folder


def tiny(name: str, data: Path, output: Path, *more: str) -> Recipe:
    return load_recipe(
        name,
        [
            f"data={data}",
            f"output={output}",
            "settings.criteria.perceptual=0",
            "settings.data.crop=32",
            "settings.data.scale=[32, 48]",
            "schedule.epochs=null",
            "steps=4",
            "device=cpu",
            "workers=1",
            *more,
        ],
    )


def assert_resumes_exactly(recipe, folder: Path, frozen: str = "") -> Path:
    """Four steps at once leave the weights of two and two more; returns the exported model.

    Args:
        recipe: makes the recipe for an output folder and overrides.
        folder: for the runs.
        frozen: prefix of the weights that stay.
    """
    whole = prepare(recipe(folder / "whole"))
    before = {key: value.clone() for key, value in whole.objective.plain("separator").state_dict().items()}
    model = whole.run()
    prepare(recipe(folder / "parts", "steps=2")).run()
    again = prepare(recipe(folder / "parts"))
    again.run()
    assert again.step == 4
    unbroken, resumed = (trainer.objective.plain("separator").state_dict() for trainer in (whole, again))
    moved = 0
    for key, value in unbroken.items():
        assert torch.equal(value, resumed[key]), key
        if frozen and key.startswith(frozen):
            assert torch.equal(value, before[key]), key
        else:
            moved += not torch.equal(value, before[key])
    assert moved > len(unbroken) // 4
    return model
