"""VGG-19 feature stack (Simonyan & Zisserman, 2015) in torchvision's layer order, cut after the last level.

The weights are torchvision's ImageNet weights; they are never part of this package and are looked for on
disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn

from dereflect.downloads import fetch, sha256, show_progress
from dereflect.errors import InputError, ModelError
from dereflect.weights import cache_folder, check_keys, read_checkpoint

LEVEL_LAYERS = (1, 6, 11, 20, 29)
"""Indices in `features` of relu1_1, relu2_1, relu3_1, relu4_1, relu5_1."""
LAST_CONVOLUTIONS = (2, 7, 16, 25, 34)
"""Indices in `features` of conv1_2, conv2_2, conv3_4, conv4_4, conv5_4: before their rectifiers."""
LEVEL_CHANNELS = (64, 128, 256, 512, 512)
"""Channels of either's outputs; their resolutions are 1, 1/2, 1/4, 1/8 and 1/16, floored."""
WEIGHTS_NAME = "vgg19-dcbb9e9d.pth"
WEIGHTS_URL = f"https://download.pytorch.org/models/{WEIGHTS_NAME}"
ENVIRONMENT_VARIABLE = "DEREFLECT_VGG19"

# 0 is a 2x2 max-pool
_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)


class Vgg19(nn.Module):
    """Frozen VGG-19 features. Keys: ``features.N.weight|bias`` as in torchvision.

    Args:
        taps: indices in `features` of the five levels: `LEVEL_LAYERS` or `LAST_CONVOLUTIONS`. Layers after
            the last of them are left out.
    """

    def __init__(self, taps: tuple[int, ...] = LEVEL_LAYERS) -> None:
        super().__init__()
        self.taps = taps
        layers: list[nn.Module] = []
        channels = 3
        for width in _WIDTHS:
            if width == 0:
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=False)]
            channels = width
        self.features = nn.Sequential(*layers[: max(taps) + 1])
        self.requires_grad_(False)
        self.eval()

    def levels(self, image: Tensor) -> Iterator[Tensor]:
        """Yield the five levels one after another.

        So the caller may drop each before the next is computed.

        Args:
            image: (B, 3, H, W), H and W at least 16.

        Yields:
            (B, LEVEL_CHANNELS[k], H // 2**k, W // 2**k), k = 0..4: what the layer `taps[k]` gives.
        """
        x = image
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                yield x

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """All five levels at once; see `levels`."""
        return tuple(self.levels(image))


def load_vgg19(source: str | os.PathLike[str] | None = None, taps: tuple[int, ...] = LEVEL_LAYERS) -> Vgg19:
    """VGG-19 features with ImageNet weights from disk.

    Args:
        source: a weights file, a folder that holds ``vgg19-dcbb9e9d.pth`` or one safetensors file,
            ``"download"`` to fetch torchvision's file into the cache, or None to look at
            ``$DEREFLECT_VGG19`` and then into the cache.
        taps: see `Vgg19`.

    Raises:
        ModelError: no weights at hand (the message says where to put them), a wrong checksum, or keys that
            do not fit.
        InputError: a file that cannot be read.
    """
    path = _find_weights(source)
    check_hash_in_name(path)
    network = Vgg19(taps)
    state = vgg19_state(read_checkpoint(path), last=max(taps))
    check_keys(network.state_dict(), state, f"{path}: VGG-19")
    network.load_state_dict(state)
    return network


def find_vgg19() -> Path | None:
    """The weights file that `load_vgg19` takes unasked, or None if there is none."""
    try:
        return _find_weights(None)
    except ModelError:
        return None


def vgg19_state(checkpoint: Mapping[str, Tensor], last: int = LEVEL_LAYERS[-1]) -> dict[str, Tensor]:
    """The entries of a VGG-19 checkpoint that are used: no classifier, no layers after `last`."""
    pattern = re.compile(r"features\.(\d+)\.(weight|bias)")
    matches = {key: pattern.fullmatch(key) for key in checkpoint}
    return {
        key: checkpoint[key]
        for key, match in matches.items()
        if not key.startswith("classifier.") and not (match and last < int(match[1]) <= LAST_CONVOLUTIONS[-1])
    }


def check_hash_in_name(path: Path) -> None:
    """Check a file named like ``name-0123abcd.pth`` against the checksum that its name promises.

    The name has the first digits of the file's SHA-256.

    Raises:
        ModelError: the file's checksum begins otherwise.
    """
    match = re.search(r"-([0-9a-f]{8,64})\.(?:pth|pt|safetensors)$", path.name)
    if match and path.is_file() and not (digest := sha256(path)).startswith(match[1]):
        raise ModelError(
            path,
            f"wrong checksum (its sha256 begins {digest[: len(match[1])]}, not {match[1]}); "
            f"the file is damaged or another one: fetch {WEIGHTS_URL} again",
        )


def _find_weights(source: str | os.PathLike[str] | None) -> Path:
    cached = cache_folder() / WEIGHTS_NAME
    if source is not None and os.fspath(source) == "download":
        digits = WEIGHTS_NAME.removesuffix(".pth").rpartition("-")[2]  # torchvision's names end in them
        return fetch(WEIGHTS_URL, cached, f"sha256:{digits}", report=show_progress())
    if source is not None:
        return _weights_in(Path(source).expanduser(), "vgg")
    if chosen := os.environ.get(ENVIRONMENT_VARIABLE):
        return _weights_in(Path(chosen).expanduser(), f"${ENVIRONMENT_VARIABLE}")
    if cached.is_file():
        return cached
    raise ModelError(
        "VGG-19 weights",
        f"are needed and not part of the package: put {WEIGHTS_NAME} ({WEIGHTS_URL}) at {cached}, or give "
        f"vgg=PATH, vgg=download or ${ENVIRONMENT_VARIABLE}; the model 'default' needs none",
    )


def _weights_in(path: Path, option: str) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise InputError(path, f"no such VGG-19 weights file ({option}); it is {WEIGHTS_URL}")
        return path
    for candidate in [path / WEIGHTS_NAME, *sorted(path.glob("*.safetensors"))]:
        if candidate.is_file():
            return candidate
    raise InputError(path, f"no VGG-19 weights in this folder ({option}); put {WEIGHTS_NAME} there")
