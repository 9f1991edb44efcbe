"""Fixture access of the RDNet golden tests: the manifest and recipe that lie beside the files."""

import json
from typing import Any

import torch
from fixtures import GoldenFile, manifest, recipe, section
from torch import Tensor, nn

from dereflect.methods.rdnet.config import RDNetConfig
from dereflect.methods.rdnet.network import RDNet
from dereflect.methods.rdnet.official import modern_state

OLD_ONLY = ("stem_comp.", "decoder_blocks.0.", "decoder_blocks.1.")


def fill(module: nn.Module, file: GoldenFile, prefix: str = "", seed: int | None = None, family="rdnet"):
    """Put the recipe's weights into a module (in its dtype), by the file's seed if no other is given."""
    chosen = section(file)["seed"] if seed is None else seed
    return recipe(file.path.parent).apply_recipe(module, chosen, family, prefix)


def tiny_config(file: GoldenFile, **changes: Any) -> RDNetConfig:
    """The small network of the fixtures: the file's own settings, or those that all files share."""
    text = file.metadata.get("config")
    about = json.loads(text) if text else manifest(file.path.parent)["_common"]["tiny"]
    return RDNetConfig(
        channels=about["channels"],
        blocks=about["layers"],
        columns=about["num_subnet"],
        backbone_width=about["embed"],
        backbone_depths=about["depths"],
        classifier_depths=about["cls_depths"],
        classifier_widths=about["cls_dims"],
        prompt_width=about["prompt_hidden"],
        drop_rate=about["drop_path_rate"],
        **changes,
    )


def filled(file: GoldenFile, config: RDNetConfig, dtype: torch.dtype) -> RDNet:
    """A network of the toolbox's layout."""
    return fill(RDNet(config), file).to(dtype).eval()


def old_names(modern: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the older layout that a network of ours corresponds to, classifier apart."""
    found = {}
    for key, value in modern.items():
        if key.startswith("classifier."):
            continue
        name = key.replace("decoder_blocks.", "decoder_blocks.2.").replace("projback_shit_2", "projback_2")
        found[name.replace("projback_shit", "projback_")] = tuple(value.shape)
    return found


def filled_old(file: GoldenFile, config: RDNetConfig, dtype: torch.dtype) -> RDNet:
    """A network whose weights the recipe made under the older layout's names, read as such a file is."""
    network = RDNet(config)
    maker, seed, state = recipe(file.path.parent), section(file)["seed"], network.state_dict()
    old = {key: maker.recipe_tensor(key, shape, seed) for key, shape in old_names(state).items()}
    classifier = {
        key.removeprefix("classifier."): maker.recipe_tensor(key, value.shape, seed)
        for key, value in state.items()
        if key.startswith("classifier.")
    }
    network.load_state_dict(modern_state(old, classifier))
    return network.to(dtype).eval()


def both(file: GoldenFile, prefix: str) -> list[tuple[str, torch.dtype]]:
    """The two precisions of an entry that the file holds: ("y32", float32) and ("y64", float64)."""
    known = (("y32", torch.float32), ("y64", torch.float64))
    return [(name, dtype) for name, dtype in known if file.matching(rf"{prefix}\.{name}(\..*)?")]
