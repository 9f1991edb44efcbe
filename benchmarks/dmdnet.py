"""DMDNet: the fast form against the plain one (as the formulas read, with our fast scan), in one run.

    python benchmarks/dmdnet.py [--sizes 352 704] [--repeats 3] [--bfloat16]

Each measurement runs in a process of its own, with the same random weights, depth network included. Wall time
is the smallest of the repeats; processor time is shown beside it, since it is what other work on the machine
does not distort. The scans are timed inside. Differences are with the plain path's orders forced, in float32
once more with its choices of memory slots, since a rounding can tip either.
"""

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from measured import add_option, record

from dereflect.cli.scripts import run_script

LABELS = {"plain": "plain, float32:", "fast": "fast, float32:", "bfloat16": "fast, bfloat16:"}
PARTS = ("depth", "orders", "scans", "memory", "rest")


def build():
    import torch

    from dereflect.methods.dmdnet.config import DMDNetConfig
    from dereflect.methods.dmdnet.method import DMDNetMethod

    torch.manual_seed(7)
    method = DMDNetMethod(DMDNetConfig()).eval().requires_grad_(False)
    for name, parameter in method.network.named_parameters():
        if name.endswith((".a_l", ".a_r", ".b", "gate.fc1.weight")):  # these start at zero
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return method


@contextlib.contextmanager
def stopwatch(module, name, part, spent):
    """Add the time of every call of ``module.name`` to ``spent[part]``."""
    kept = getattr(module, name)

    def timed(*arguments, **keywords):
        start = time.perf_counter()
        result = kept(*arguments, **keywords)
        spent[part] += time.perf_counter() - start
        return result

    setattr(module, name, timed)
    yield
    setattr(module, name, kept)


@contextlib.contextmanager
def slots_of_memory(memory, recorded, forced=None):
    """Record which two slots each pixel chooses, in a list; or force those of a (pixels, 2) tensor."""
    import torch

    kept, place = memory.two_largest, 0

    def two_largest(scores):
        nonlocal place
        if forced is None:
            largest, slots = kept(scores)
            recorded.append(slots.reshape(-1, 2).to(torch.int16))
            return largest, slots
        count = scores[..., 0].numel()
        slots = forced[place : place + count].view(*scores.shape[:-1], 2).long()
        place += count
        return scores.gather(-1, slots), slots

    memory.two_largest = two_largest
    yield
    memory.two_largest = kept


def measure(variant: str, size: int, repeats: int, folder: Path) -> dict:
    import torch

    from dereflect.methods.dmdnet import dsmamba, memory
    from dereflect.methods.dmdnet.fast import blocks as fast_blocks
    from dereflect.methods.dmdnet.fast import dsmamba as fast_dsmamba
    from dereflect.methods.dmdnet.fast import memory as fast_memory
    from dereflect.methods.dmdnet.orders import OrderBook

    torch.set_grad_enabled(False)
    method = build()
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    if variant != "plain":
        method.prepare(torch.device("cpu"), torch.bfloat16 if variant == "bfloat16" else torch.float32)

    def run(orders=None):
        if variant == "plain":
            done = method.network(image, method.depth.features(image), orders)
            return done.transmission, done.reflection
        return method(image, orders=orders)

    best = None
    book = OrderBook() if variant == "plain" else None
    slots = []
    for turn in range(repeats + 1):  # the first warms up, and notes the orders and slots
        spent = dict.fromkeys(PARTS, 0.0)
        watches = [
            (type(method.depth), "features", "depth"),
            (dsmamba, "scan_order", "orders"),
            (fast_dsmamba, "scan_order", "orders"),
            (dsmamba, "selective_scan", "scans"),
            (fast_dsmamba, "selective_scan", "scans"),
            (memory.MECM, "forward", "memory"),
            (fast_blocks, "compensation", "memory"),
        ]
        with contextlib.ExitStack() as stack:
            for module, name, part in watches:
                stack.enter_context(stopwatch(module, name, part, spent))
            if turn == 0 and book is not None:
                stack.enter_context(slots_of_memory(memory, slots))
            start, processor = time.perf_counter(), time.process_time()
            layers = run(book if turn == 0 else None)
            wall, processor = time.perf_counter() - start, time.process_time() - processor
        spent["rest"] = wall - sum(spent.values())
        if turn == 0 and book is not None:
            reference = {"used": book.used, "layers": layers, "slots": torch.cat(slots)}
            torch.save(reference, folder / f"reference-{size}.pt")
        if best is None or wall < best["wall"]:
            best = {"wall": wall, "processor": processor, "parts": spent}
    file = folder / f"reference-{size}.pt"
    best["peak_gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    if variant != "plain" and file.is_file():
        kept = torch.load(file)
        pairs = [(kept["used"][i, "T"], kept["used"][i, "R"]) for i in range(len(kept["used"]) // 2)]
        layers = run(OrderBook(pairs))
        differences = [(one - other).abs() for one, other in zip(layers, kept["layers"], strict=True)]
        best["largest_difference"] = max(d.max().item() for d in differences)
        best["mean_difference"] = max(d.mean().item() for d in differences)
        if variant == "fast":
            with slots_of_memory(fast_memory, slots, kept["slots"]):
                layers = run(OrderBook(pairs))
            differences = [
                (one - other).abs().max() for one, other in zip(layers, kept["layers"], strict=True)
            ]
            best["with_slots"] = max(differences).item()
    best["threads"] = torch.get_num_threads()
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[352, 704])
    parser.add_argument("--variants", nargs="+", default=["plain", "fast"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bfloat16", action="store_true", help="measure half precision, too")
    add_option(parser, "dmdnet.cost")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        variant, size, folder = options.one
        print(json.dumps(measure(variant, int(size), options.repeats, Path(folder))))
        return
    import tempfile

    variants = options.variants + (["bfloat16"] if options.bfloat16 else [])
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            found = {}
            for variant in variants:
                command = [sys.executable, __file__, "--repeats", str(options.repeats), "--one", variant]
                done = subprocess.run([*command, str(size), folder], stdout=subprocess.PIPE, check=True)
                found[variant] = json.loads(done.stdout.splitlines()[-1])
                report(variant, size, found)
            rows = [row(variant, one) for variant, one in found.items()]
            part = "" if size == options.sizes[0] else f".{size}"
            record(options, {"size": size, "rows": rows}, part=part)


def row(variant: str, one: dict) -> dict:
    """What `--record` keeps of one measurement."""
    numbers = {"seconds": one["wall"], "processor": one["processor"]} | one["parts"]
    numbers["gigabytes"] = one["peak_gigabytes"]
    mean = one.get("mean_difference")
    rounded = {key: round(value, 2) for key, value in numbers.items()}
    return (
        {"form": LABELS[variant].removesuffix(":")}
        | rounded
        | {"mean_difference": None if mean is None else float(f"{mean:.1e}")}
    )


def report(variant: str, size: int, found: dict) -> None:
    one, plain = found[variant], found.get("plain")
    parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in one["parts"].items())
    print(
        f"{size}x{size} {LABELS[variant]} wall {one['wall']:.2f} s, "
        f"processor {one['processor']:.2f} s ({parts}), peak {one['peak_gigabytes']:.2f} GB, "
        f"{one['threads']} threads",
        flush=True,
    )
    if not plain or variant == "plain":
        return
    faster, processor = plain["wall"] / one["wall"], plain["processor"] / one["processor"]
    memory = one["peak_gigabytes"] / plain["peak_gigabytes"]
    line = (
        f"    {faster:.2f} times faster ({processor:.2f} by processor time), {memory:.0%} of the peak memory"
    )
    if "largest_difference" in one:
        largest, mean = one["largest_difference"], one["mean_difference"]
        line += f"; with forced orders the largest difference is {largest:.1e}, the mean {mean:.1e}"
        if "with_slots" in one:
            line += f", with forced slots the largest is {one['with_slots']:.1e}"
    print(line, flush=True)


if __name__ == "__main__":
    run_script(main)
