"""Train the default model further on photos of your own kind, and load the result.

    python examples/train_own_data.py data/ runs/mine --steps 2000
    dereflect separate window.jpg --model runs/mine/model

data/photos/ holds ordinary pictures of what you photograph, without reflections: glass is put before them
while training. Real pairs, if you have them, go into data/pairs/blended and data/pairs/transmission_layer,
same names. An interrupted run continues when it is started again. Any key of the recipe `default` can be
given as KEY=VALUE.
"""

import argparse
from pathlib import Path

from dereflect.methods.default.method import EMBEDDED
from dereflect.training.recipe import load_recipe
from dereflect.training.trainer import prepare

RECIPE = "default"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on your own photos.")
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--from-scratch", action="store_true", help="do not begin with the embedded model")
    options = parser.parse_args()

    changes = [f"data={options.data}", f"output={options.output}", f"steps={options.steps}", "device=auto"]
    if not (options.data / "pairs").is_dir():
        changes.append("settings.pairs=null")
    if not options.from_scratch:  # smaller steps for a model that is trained already
        changes += [f"settings.start_from={EMBEDDED}", "settings.learning_rate=1e-4"]
    trainer = prepare(load_recipe(RECIPE, changes + options.changes))
    print(f"{trainer.total_steps} steps of {trainer.samples_per_step} crops into {trainer.folder}")
    print(f"the model: {trainer.run()}")


if __name__ == "__main__":
    main()
