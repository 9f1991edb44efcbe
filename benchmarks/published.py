"""The published networks: the executed form against the plain one, in one run.

    python benchmarks/published.py [--models dsit dsrnet] [--sizes 384 512] [--repeats 1] [--bfloat16]

Every measurement runs in a process of its own, on the same random weights and picture. Wall time is the
smallest of the repeats. Processor time is shown beside it, since it is what other work on the machine
distorts least. Memory is the process's peak, weights and libraries included; above the weights it is what
remains beyond the process before the first run. Differences are relative to the largest value of the plain
form's layer. DSRNet's plain form makes its residual, as the original does; the executed one makes what a user
gets, the two layers. `dsrnet+rr` makes the residual in both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import measured

from dereflect.cli.scripts import run_script


class Forms(NamedTuple):
    """A network ready to run: what holds its weights, and its two forms from a picture to layers."""

    parts: list[Any]
    plain: Callable[[Any], Any]
    fast: Callable[[Any], Any]
    takes_float32: bool = False
    """Whether pictures stay in float32 whatever the weights are; then the one part is a `Method`."""


def dsit() -> Forms:
    from dereflect.methods.dsit.config import DSITConfig
    from dereflect.methods.dsit.fast.network import separate
    from dereflect.methods.dsit.network import DSIT

    network = without_zeros(DSIT(DSITConfig()))
    return Forms([network], network, lambda image: separate(network, image))


def dsrnet(residual: bool = False) -> Forms:
    from dereflect.methods.dsrnet.config import DSRNetConfig
    from dereflect.methods.dsrnet.fast import separate
    from dereflect.methods.dsrnet.network import DSRNet
    from dereflect.nn.vgg import Vgg19

    network, vgg = without_zeros(DSRNet(DSRNetConfig())), Vgg19()
    return Forms(
        [network, vgg],
        lambda image: network(image, vgg(image)),
        lambda image: separate(network, vgg, image, residual),
    )


def rdnet() -> Forms:
    from dereflect.methods.rdnet.config import RDNetConfig
    from dereflect.methods.rdnet.method import RDNetMethod

    method = RDNetMethod(RDNetConfig()).eval()
    without_zeros(method.network)
    return Forms([method], lambda image: method.network(image)[-1], method, takes_float32=True)


MODELS: dict[str, Callable[[], Forms]] = {
    "dsit": dsit,
    "dsrnet": dsrnet,
    "dsrnet+rr": lambda: dsrnet(residual=True),
    "rdnet": rdnet,
}
"""A further model adds its function here."""


SCALINGS = ("a", "b", "a_l", "a_r", "b_l", "b_r", "beta", "gamma", "gamma_1", "gamma_2")


def without_zeros(network: Any) -> Any:
    """Residual scalings start at or near zero, which would hide every difference."""
    import torch

    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.rpartition(".")[2] in SCALINGS:
                parameter.normal_(0, 0.1)
    return network.eval()


def measure(model: str, form: str, size: int, repeats: int, result: str) -> dict[str, float]:
    """One form at one size, in this process; the layers go to the file `result`."""
    import torch

    from dereflect.evaluation.cost import measured_cost, peak_resident

    torch.manual_seed(7)
    forms = MODELS[model]()
    image = torch.rand(1, 3, size, size)
    if form != "plain":
        dtype = torch.bfloat16 if form == "bfloat16" else torch.float32
        if forms.takes_float32:
            forms.parts[0].prepare(torch.device("cpu"), dtype)
        else:
            for part in forms.parts:
                part.to(dtype=dtype, memory_format=torch.channels_last)
            image = image.to(dtype)
    run = forms.plain if form == "plain" else forms.fast
    walls, cpus = [], []
    with torch.inference_mode(), measured_cost() as cost:
        for _ in range(repeats):
            wall, cpu = time.perf_counter(), time.process_time()
            layers = run(image)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    torch.save([layer.float() for layer in layers[:2]], result)
    return {
        "wall": min(walls),
        "cpu": min(cpus),
        "above": (cost.peak_bytes or 0) / 2**20,
        "peak": (peak_resident() or 0) / 2**20,
    }


def apart(model: str, form: str, size: int, options: argparse.Namespace, result: Path) -> dict[str, float]:
    """`measure` in a process of its own."""
    request = json.dumps([model, form, size, options.repeats, str(result)])
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    command = [sys.executable, __file__, "--child", request]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def largest_difference(first: Path, second: Path) -> float:
    import torch

    pairs = zip(torch.load(first), torch.load(second), strict=True)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def compare(model: str, size: int, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """The plain form, then the others beside it."""
    rows: list[dict[str, Any]] = []
    plain: dict[str, float] = {}
    for form in ["plain", "fast", *(["bfloat16"] if options.bfloat16 else [])]:
        found = apart(model, form, size, options, folder / form)
        plain = plain or found
        row = {"model": model, "size": size, "form": form, **found}
        row |= {
            "times_wall": plain["wall"] / found["wall"],
            "times_cpu": plain["cpu"] / found["cpu"],
            "share_above": found["above"] / plain["above"],
            "share_peak": found["peak"] / plain["peak"],
            "difference": largest_difference(folder / "plain", folder / form),
        }
        row = {
            key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in row.items()
        }
        rows.append(row)
        print(
            f"{model:10} {size:5} {form:9} {found['wall']:7.1f} s wall ({row['times_wall']:.2f}x) "
            f"{found['cpu']:7.1f} s cpu ({row['times_cpu']:.2f}x)  peak {found['peak']:6,.0f} MiB "
            f"({row['share_peak']:.0%}), above the weights {found['above']:6,.0f} MiB "
            f"({row['share_above']:.0%})  difference {row['difference']:.1e}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[384, 512])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    measured.add_option(parser, "published")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*json.loads(options.child))))
        return
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            rows = [row for size in options.sizes for row in compare(model, size, options, Path(folder))]
            measured.record(options, {"rows": rows}, part=f".{model}")


if __name__ == "__main__":
    run_script(main)
