"""Give a trained default model another encoder, and more parts, for a training to `start_from`.

    python scripts/change_encoder.py MODEL PHOTOS OUT --encoder lite2 --weights lite2.safetensors \
        [--network '{encoder_blocks: [2, 2, 6]}']
    python scripts/change_encoder.py MODEL PHOTOS OUT --encoder open_nsfw --weights nsfw.safetensors \
        --weights lite2.safetensors --network '{second_encoder: lite2}'

Each entry of the streams expects the old encoder's features. What these are, as a linear function of the new
encoder's, is found by least squares over crops of PHOTOS (folders; photos whose name's CRC-32 is divisible by
20 are left out, as in training, and so are those under 256 pixels), and put into the entry's own weights.
Where the encoder stays, so do its entries, and PHOTOS are not read. Numbers of the network that are not given
stay the old ones. Parts that the old network has not, a second encoder's entries among them, begin by
changing nothing.
"""

import argparse
import random
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from torch import Tensor, nn

from dereflect.catalog import load_method
from dereflect.cli.scripts import run_script
from dereflect.data.crops import decode, held_out, list_pictures
from dereflect.images import upright_size
from dereflect.images.tensors import to_tensor
from dereflect.methods.default.method import DefaultMethod
from dereflect.methods.default.network import DefaultNetwork, FeatureEntry

SIDE = 256
PLACES = 1024
"""Places of each map that are taken from a crop."""
RIDGE = 1e-3


class Sums(NamedTuple):
    """Products of new features (a one beside them) with themselves and with old ones, over all places."""

    new_new: Tensor
    new_old: Tensor
    old_old: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="name or folder of the trained model")
    parser.add_argument("photos", type=Path, nargs="+", help="folders of ordinary photos")
    parser.add_argument("out", type=Path, help="model folder to write")
    parser.add_argument("--encoder", required=True, help="its name in dereflect.methods.default.network")
    parser.add_argument(
        "--weights", required=True, action="append", help="safetensors of an encoder; once for each, in order"
    )
    parser.add_argument("--network", default="{}", type=yaml.safe_load, help="numbers of it to change")
    parser.add_argument("--crops", type=int, default=500)
    options = parser.parse_args()
    old = load_method(options.model)[0].network
    numbers = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.network.items()
    }
    torch.manual_seed(0)
    new = DefaultNetwork(replace(old.config, encoder=options.encoder, **numbers))
    DefaultMethod.load_encoders(new, options.weights)
    same = new.config.encoder == old.config.encoder
    take_over(new, old, same)
    if not same:
        random.seed(0)
        crops = (crop(decode(path)) for path in choose(options.photos, options.crops))
        for number, found in enumerate(gather(old, new, crops)):
            share = fit(old.enter[number], new.enter[number], found)
            print(f"map {number + 1}: {share:.0%} of the old features' variance is explained by the new ones")
    DefaultMethod.wrap(new).save_pretrained(options.out)


def take_over(new: DefaultNetwork, old: DefaultNetwork, same_encoder: bool) -> None:
    """Give `new` the weights of `old`, but those of another encoder and its entries; silence what is new."""
    changed = () if same_encoder else ("encoder.", "enter.")
    state = {k: v for k, v in old.state_dict().items() if not k.startswith(changed)}
    missing, unexpected = new.load_state_dict(state, strict=False)
    if unexpected:
        raise SystemExit(f"the old network has parts that the new one has not, first {unexpected[0]}")
    for key in missing:
        if ".mix_" in key or (key.startswith("enter2.") and ".project." in key):
            new.get_parameter(key).data.zero_()


def choose(folders: list[Path], count: int) -> list[Path]:
    """So many photos at random, of those that a crop can be taken of; all where there are fewer."""
    paths = [path for folder in folders for path in list_pictures(folder) if not held_out(path, 20)]
    large = [path for path in paths if min(upright_size(path)) >= SIDE]
    if not large:
        raise SystemExit(f"{', '.join(map(str, folders))}: no photo has {SIDE} pixels on both sides")
    return random.sample(large, min(count, len(large)))


def crop(picture: object) -> Tensor:
    """A random square of a photo, (1, 3, SIDE, SIDE) in [0, 1]."""
    whole = to_tensor(picture)
    height, width = whole.shape[-2:]
    top, left = random.randint(0, height - SIDE), random.randint(0, width - SIDE)
    return whole[None, :, top : top + SIDE, left : left + SIDE]


@torch.no_grad()
def gather(old: DefaultNetwork, new: DefaultNetwork, crops: object) -> list[Sums]:
    """The sums of each of the encoders' maps over all crops."""
    sums: list[Sums] = []
    for number, picture in enumerate(crops):
        for place, maps in enumerate(zip(old.encoder(picture), new.encoder(picture), strict=True)):
            wanted, have = (
                normalised(entry, map)
                for entry, map in zip((old.enter[place], new.enter[place]), maps, strict=True)
            )
            kept = torch.randperm(len(have))[:PLACES]
            have, wanted = (
                torch.cat([have, torch.ones(len(have), 1)], 1)[kept].double(),
                wanted[kept].double(),
            )
            found = Sums(have.T @ have, have.T @ wanted, wanted.T @ wanted)
            if not number:
                sums.append(found)
            else:
                for total, part in zip(sums[place], found, strict=True):
                    total += part
    return sums


def normalised(entry: FeatureEntry, features: Tensor) -> Tensor:
    """(1, C, H, W) -> (H * W, C): as the entry's projection sees them."""
    return entry.norm(features.permute(0, 2, 3, 1)).flatten(0, 2)


@torch.no_grad()
def fit(old: nn.Module, new: nn.Module, sums: Sums) -> float:
    """Put old features as a function of new ones into `new`'s projection; the explained share of variance."""
    count = sums.new_new[-1, -1]
    damped = sums.new_new + RIDGE * count * torch.eye(len(sums.new_new), dtype=torch.float64)
    solution = torch.linalg.solve(damped, sums.new_old)
    weight = old.project.weight[:, :, 0, 0].double()
    new.project.weight.copy_((weight @ solution[:-1].T)[:, :, None, None])
    new.project.bias.copy_(old.project.bias.double() + weight @ solution[-1])
    rest = sums.old_old - 2 * solution.T @ sums.new_old + solution.T @ sums.new_new @ solution
    mean = sums.new_old[-1] / count
    return 1 - float(rest.trace() / (sums.old_old.trace() - count * mean.square().sum()))


if __name__ == "__main__":
    run_script(main)
