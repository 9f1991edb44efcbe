"""Scan orders: in which sequence the pixels of a fused proximity map are visited.

DA-RScan and DA-GScan of the paper.

An order is a permutation of raster indices. It is a sort of float values, so rounding differences of the map
change it visibly: orders are always computed from float32 or wider, never from half precision, and
`OrderBook` can force them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dereflect.methods.dmdnet.config import Scan

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]

KEPT_REGIONS = 5
SMALLEST_SHARE = 0.05


class OrderBook:
    """The orders of one forward pass, call by call: what to use instead of computing, and what was used.

    Args:
        forced: pairs (T, R) of (B, L) or (L,) integer tensors, one for each DSMamba call; None computes them.
    """

    def __init__(self, forced: Iterable[tuple[Tensor, Tensor]] | None = None) -> None:
        self._forced = None if forced is None else list(forced)
        self.used: dict[tuple[int, str], Tensor] = {}

    def lookup(self, call: int, stream: str) -> Tensor | None:
        """The forced order of a call, (B, L) int64, or None.

        Raises:
            IndexError: orders are forced, but not for so many calls.
        """
        if self._forced is None:
            return None
        order = self._forced[call]["TR".index(stream)]
        return order.reshape(-1, order.shape[-1]).long()


def scan_order(proximity: Tensor, scan: Scan) -> Tensor:
    """Order of a fused proximity map.

    Args:
        proximity: (B, 1, H, W), float32 or float64.
        scan: "regional", "global" or "raster".

    Returns:
        (B, H*W) int64 raster indices on the map's device.
    """
    batch, _, height, width = proximity.shape
    if scan == "raster":
        return torch.arange(height * width, device=proximity.device).expand(batch, -1)
    if scan == "global":
        return global_order(proximity)
    maps = proximity.detach().cpu()  # the region labels are sequential work: the only forced copy to the host
    return torch.stack([regional_order(item[0]) for item in maps]).to(proximity.device)


def global_order(proximity: Tensor) -> Tensor:
    """Near to far over the whole picture; ties in raster order.

    Args:
        proximity: (B, 1, H, W).

    Returns:
        (B, H*W) int64.
    """
    return torch.sort(proximity.detach().flatten(1), dim=1, descending=True, stable=True).indices


def regional_order(proximity: Tensor) -> Tensor:
    """Region by region (large first), near to far within each; ties in raster order.

    Args:
        proximity: (H, W) on the CPU.

    Returns:
        (H*W,) int64.
    """
    values, indices = torch.sort(proximity.detach().flatten(), descending=True, stable=True)
    near = (proximity >= median_of_sorted(values)).numpy()
    rank = torch.from_numpy(region_ranks(near).reshape(-1))[indices]
    return torch.cat([indices[rank == r] for r in range(int(rank.max()) + 1)])


def median_of_sorted(descending: Tensor) -> Tensor:
    """Median of values sorted in descending order, by linear interpolation in their own dtype."""
    count = descending.numel()
    upper, lower = descending[(count - 1) // 2], descending[count // 2]
    return upper - (upper - lower) / 2


def region_ranks(near: Mask) -> Labels:
    """Rank (0 is scanned first) of every pixel's region.

    Regions are the 4-connected components of `near` with at least 5 % of the pixels, the five largest at
    most; the far half and all smaller components together are one more region, and compete by the far half's
    area alone. Larger regions come first; of equal ones the near one, and of equal near ones the one met
    first in raster order.

    Args:
        near: (H, W) mask of the near half.

    Returns:
        (H, W) int64.
    """
    labels = connected_components(near)
    areas = np.bincount(labels.reshape(-1))
    kept = 1 + np.flatnonzero(areas[1:] >= SMALLEST_SHARE * near.size)
    if len(kept) > KEPT_REGIONS:
        # Among more than five, equal areas are listed by descending label.
        kept = kept[np.argsort(areas[kept], kind="stable")[::-1][:KEPT_REGIONS]]
    listed = np.append(kept, 0)
    ranked = listed[np.argsort(-areas[listed], kind="stable")]
    rank_of_label = np.full(len(areas), int(np.flatnonzero(ranked == 0)[0]))
    rank_of_label[ranked] = np.arange(len(ranked))
    return rank_of_label[labels]


def connected_components(mask: Mask) -> Labels:
    """Label the 4-connected components of a mask, from 1 in raster order of their first pixel; 0 elsewhere.

    Works on horizontal runs: runs of neighbouring rows that overlap are joined, by repeatedly hanging the
    larger root below the smaller and shortening all paths, which takes a logarithmic number of vectorised
    rounds.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 1), dtype=np.int8)
    padded[:, :width] = mask
    change = np.diff(padded.reshape(-1), prepend=np.int8(0))
    first = np.flatnonzero(change == 1)  # positions in rows of width + 1, so runs never touch the next row's
    last = np.flatnonzero(change == -1)
    if not len(first):
        return np.zeros((height, width), dtype=np.int64)

    # Run i overlaps the runs of the next row that end after its start and begin before its end.
    below = width + 1
    low = np.searchsorted(last, first + below, side="right")
    high = np.searchsorted(first, last + below, side="left")
    counts = np.maximum(high - low, 0)
    above = np.repeat(np.arange(len(first)), counts)
    beneath = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(low, counts)

    parent = np.arange(len(first))
    while True:
        a, b = parent[above], parent[beneath]
        apart = a != b
        if not apart.any():
            break
        above, beneath, a, b = above[apart], beneath[apart], a[apart], b[apart]
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while True:
            shorter = parent[parent]
            if np.array_equal(shorter, parent):
                break
            parent = shorter
    _, label = np.unique(parent, return_inverse=True)  # roots are first runs, so they ascend in raster order
    flat = np.zeros(height * (width + 1) + 1, dtype=np.int64)
    np.add.at(flat, first, label + 1)
    np.subtract.at(flat, last, label + 1)
    return np.cumsum(flat)[:-1].reshape(height, width + 1)[:, :width]
