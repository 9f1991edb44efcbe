"""The result of stage one, as stage two starts from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dereflect.errors import DereflectError, ModelError, RecipeError
from dereflect.methods.ytmt.config import YtmtConfig
from dereflect.methods.ytmt.two_stage import build_network
from dereflect.weights import check_keys, read_checkpoint


@dataclass(frozen=True)
class StageOne:
    """Weights of the network and, where the result is a run of the training loop, its optimizer's state."""

    network: Mapping[str, Tensor]
    optimizer: dict[str, Any] | None


def load_stage_one(source: str, config: YtmtConfig) -> StageOne:
    """Read the result of stage one.

    Args:
        source: a run folder of the training loop, one of its checkpoint folders, a model folder, or a
            checkpoint file.
        config: of the two-stage system that is to be trained.

    Raises:
        RecipeError: nothing there, or another network than `config`; names the setting and the remedy.
    """
    path = Path(source).expanduser()
    states = sorted(path.glob("checkpoints/step-*/state.pt")) or sorted(path.glob("state.pt"))
    try:
        if states:
            return _from_run(states[-1], config)
        return _from_model(path, config)
    except DereflectError as error:
        raise RecipeError(f"settings.stage_one={source}", str(error)) from error


def _from_run(path: Path, config: YtmtConfig) -> StageOne:
    state = read_checkpoint(path)
    network = state.get("networks", {}).get("separator")
    if not isinstance(network, Mapping):
        raise ModelError(path, "is no run of YTMT's stage one")
    check_keys(build_network(config).state_dict(), network, "another network than settings.network")
    return StageOne(network, state["optimizers"]["separator"])


def _from_model(path: Path, config: YtmtConfig) -> StageOne:
    from dereflect.methods.ytmt.method import YtmtOptions, from_path

    if not path.exists():
        raise ModelError(path, "no such file or folder; give the output folder of stage one")
    options = YtmtOptions(vgg="none")
    if path.is_file() and config.exchange in ("P", "N"):
        options = YtmtOptions(vgg="none", exchange=config.exchange)
    method = from_path(path, options)
    if replace(method.config, stages=2) != config:
        raise ModelError(path, "holds another network than settings.network")
    return StageOne(method.system.stage1.state_dict(), None)
