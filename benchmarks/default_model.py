"""Speed of the default model against what this machine's convolutions can do, measured in the same run.

    python benchmarks/default_model.py [--megapixels 1] [--dtype bfloat16]

Prints network time, operations, the rate reached, and the ceiling: the rate of one large channels-last
convolution in the same dtype. The ratio is what the network makes of the machine.
"""

import argparse
import time
from collections.abc import Callable

import torch
from measured import add_option, record
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dereflect.catalog import load_method
from dereflect.cli.scripts import run_script


def best_of(repeats: int, run: Callable[[], object]) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def ceiling(dtype: torch.dtype) -> float:
    """Operations a second of a 3x3 convolution of 256 to 256 channels at 128x128."""
    convolution = nn.Conv2d(256, 256, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)
    x = torch.rand(1, 256, 128, 128).to(dtype=dtype, memory_format=torch.channels_last)
    convolution(x)
    return 2 * 256 * 256 * 9 * 128 * 128 / best_of(7, lambda: convolution(x))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], action="append")
    parser.add_argument("--repeats", type=int, default=5)
    add_option(parser, "default.network")
    arguments = parser.parse_args()
    table = []
    side = round((arguments.megapixels * 1e6) ** 0.5 / 32) * 32
    photo = torch.rand(1, 3, side, side)
    for name in arguments.dtype or ["bfloat16", "float32"]:
        dtype = getattr(torch, name)
        method, _ = load_method("default")
        with FlopCounterMode(display=False) as counter:
            method(torch.rand(1, 3, 256, 256))
        operations = counter.get_total_flops() * side * side / 256**2
        method.prepare(torch.device("cpu"), dtype)
        method(photo)
        seconds = best_of(arguments.repeats, lambda: method(photo))  # noqa: B023
        rate, top = operations / seconds, ceiling(dtype)
        table.append({"dtype": name, "seconds": round(seconds, 3), "share": round(rate / top, 2)})
        print(
            f"{name:8}  {side}x{side}, {torch.get_num_threads()} threads: {seconds:.3f} s, "
            f"{operations / 1e9:.0f} GFLOP, {rate / 1e9:.0f} GFLOP/s = {rate / top:.0%} of this machine's "
            f"convolution rate ({top / 1e9:.0f} GFLOP/s)"
        )
    record(arguments, {"side": side, "rows": table})


if __name__ == "__main__":
    run_script(main)
