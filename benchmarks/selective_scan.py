"""The CPU selective scan at the five level shapes of DMDNet on a 352x352 photo.

    python benchmarks/selective_scan.py [--repeats 10] [--skip-slow]

A state update is one (channel, state, step). Ratios are against the plain PyTorch path and a per-step NumPy
loop in the same run. Wall time is the smallest of the repeats on all threads; "per core" divides by processor
time instead, which other work on the machine does not distort as much.
"""

import argparse
import time
from functools import partial

import numpy as np
import torch
from measured import add_option, record

from dereflect.cli.scripts import run_script
from dereflect.nn.selective_scan import selective_scan

STATES, DIRECTIONS = 16, 2
LEVELS = ((352, 48, 2), (176, 96, 4), (88, 192, 8), (44, 384, 12), (22, 768, 12))
"""Side, channels and number of scans at each level: 38 scans in all."""


def inputs(side, channels):
    length = side * side
    torch.manual_seed(side)
    order = torch.rand(1, length).argsort(dim=1)

    def channels_last(*shape):  # as the network hands them over: transposed views
        return torch.randn(*shape).transpose(-1, -2)

    return {
        "u": channels_last(1, length, channels),
        "delta": channels_last(1, DIRECTIONS, length, channels) * 0.5 - 4,
        "A": -torch.arange(1, STATES + 1).float().repeat(DIRECTIONS * channels, 1),
        "B": channels_last(1, DIRECTIONS, length, STATES),
        "C": channels_last(1, DIRECTIONS, length, STATES),
        "D": torch.ones(DIRECTIONS * channels),
        "delta_bias": torch.zeros(DIRECTIONS * channels),
        "order": order,
    }


def numpy_loop(given, order):
    """The recurrence, a NumPy step at a time, over one direction; returns nothing."""
    u, delta = given["u"][0].numpy()[:, order], given["delta"][0, 0].numpy()[:, order]
    A = given["A"][: u.shape[0]].numpy()
    B, C = (given[name][0, 0].numpy()[:, order] for name in "BC")
    delta = np.log1p(np.exp(delta))
    h, y = np.zeros_like(A), np.empty_like(u)
    for t in range(u.shape[1]):
        h = np.exp(delta[:, t, None] * A) * h + (delta[:, t] * u[:, t])[:, None] * B[:, t]
        y[:, t] = h @ C[:, t]


def smallest(function, repeats):
    """(wall, processor) seconds."""
    function()
    wall = processor = float("inf")
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        function()
        wall = min(wall, time.perf_counter() - start)
        processor = min(processor, time.process_time() - used)
    return wall, processor


def copy_bandwidth():
    """Bytes a second that a plain copy moves (read + write)."""
    source = torch.rand(32 << 20)
    target = torch.empty_like(source)
    return 2 * source.nbytes / smallest(lambda: target.copy_(source), 5)[0]


def backward(given):
    leaves = {
        name: value.detach().requires_grad_() if name != "order" else value for name, value in given.items()
    }
    y = selective_scan(**leaves, path="cpu")
    y.backward(torch.ones_like(y))


def low_rank(given, channels):
    """The same inputs with step sizes as DMDNet has them: of rank channels / 16, not multiplied out."""
    rank = channels // 16
    factors = torch.randn(1, DIRECTIONS, given["order"].shape[1], rank).transpose(-1, -2)
    weight = torch.randn(DIRECTIONS * channels, rank) * 0.1
    return given | {"delta": factors, "delta_weight": weight, "delta_bias": given["delta_bias"] - 4}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--skip-slow", action="store_true", help="leave out the plain and NumPy references")
    add_option(parser, "selective_scan.speed")
    options = parser.parse_args()
    table = []
    bandwidth = copy_bandwidth()
    print(f"{torch.get_num_threads()} threads; a copy moves {bandwidth / 1e9:.1f} GB/s")
    total = total_of_low_rank = 0.0
    for side, channels, count in LEVELS:
        given = inputs(side, channels)
        length = side * side
        updates = DIRECTIONS * channels * STATES * length
        moved = 4 * length * DIRECTIONS * (3 * channels + 2 * STATES)  # u, delta, y, B and C, each once
        run = partial(selective_scan, **given)
        wall, processor = smallest(partial(run, path="cpu"), options.repeats)
        both, _ = smallest(partial(backward, given), max(2, options.repeats // 3))
        with torch.no_grad():
            short, _ = smallest(partial(selective_scan, **low_rank(given, channels)), options.repeats)
        total += wall * count
        total_of_low_rank += short * count
        line = (
            f"{side}x{side}, {channels} channels: {wall * 1e3:.1f} ms, "
            f"{updates / wall / 1e9:.2f} G updates/s ({updates / processor / 1e9:.2f} per core), "
            f"{moved / wall / bandwidth:.0%} of copy bandwidth; "
            f"with step sizes of low rank {short * 1e3:.1f} ms; "
            f"forward and backward {both * 1e3:.0f} ms, {updates / both / 1e9:.2f} G/s"
        )
        row = {
            "side": side,
            "channels": channels,
            "milliseconds": round(wall * 1e3, 1),
            "updates": round(updates / wall / 1e9, 2),
            "of_bandwidth": round(moved / wall / bandwidth, 2),
            "low_rank": round(short * 1e3, 1),
            "with_backward": round(both * 1e3),
        }
        table.append(row)
        if not options.skip_slow:
            plain, _ = smallest(partial(run, path="plain"), 1)
            order = given["order"][0].numpy()
            loop, _ = smallest(partial(numpy_loop, given, order), 1)
            row |= {"to_plain": round(plain / wall), "to_numpy": round(DIRECTIONS * loop / wall)}
            line += f"; {plain / wall:.0f} times the plain path"
            line += f", {DIRECTIONS * loop / wall:.0f} times the NumPy loop"
        print(line, flush=True)
    print(f"all 38 scans of a 352x352 photo: {total:.2f} s, {total_of_low_rank:.2f} s with low rank")
    totals = {"total_seconds": round(total, 2), "total_low_rank": round(total_of_low_rank, 2)}
    record(options, {"bandwidth": round(bandwidth / 1e9, 1)} | totals | {"rows": table}, "float32")


if __name__ == "__main__":
    run_script(main)
