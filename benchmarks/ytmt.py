"""Compare the two ways to run YTMT: the plain path (float32, channels-first, hypercolumns built) and the
fast one.

    PYTHONPATH=src python benchmarks/ytmt.py [--sizes 224 512 1024] [--networks uct uct_old] [--threads 2]

Each way runs in a process of its own, so that its peak memory is its own. Weights are random with the gains
of a trained network, since neither time nor memory depends on them. For each size and network it prints

- time of both and their ratio, by the clock and by processor time (the latter is steady on a busy machine),
- peak resident memory of both processes, libraries and weights included, and the fast one's share,
- the largest difference of any output value from the plain path's,
- multiply-adds of both, as direct sums, and the rate reached as a share of this machine's measured rate of a
  3x3 convolution in that dtype (Winograd's algorithm can pass 100 %).

The plain path needs about 21 kB a pixel; sizes for which the free memory does not suffice are run in the
fast way alone.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import torch
import torch.nn.functional as F
from measured import add_option, record
from torch.utils._python_dispatch import TorchDispatchMode

from dereflect.cli.scripts import run_script
from dereflect.nn.rate import convolution_rate

PLAIN_BYTES_PER_PIXEL = 21_000


class MultiplyAdds(TorchDispatchMode):
    """Counts multiply-adds of convolutions and matrix products as direct sums."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name in ("convolution", "_nnpack_spatial_convolution", "conv2d", "mkldnn_convolution"):
            self.total += result.numel() * math.prod(args[1].shape[1:])
        elif name in ("mm", "bmm"):
            self.total += result.numel() * args[0].shape[-1]
        elif name in ("addmm", "baddbmm", "addmm_"):
            self.total += result.numel() * args[1].shape[-1]
        return result


def system(name):
    from dereflect.methods.ytmt.config import NAMED
    from dereflect.methods.ytmt.two_stage import YtmtSystem
    from dereflect.nn.vgg import Vgg19

    network = YtmtSystem(NAMED[name], Vgg19()).eval()
    for key, tensor in network.state_dict().items():
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        gain = 1.0 if ".pa." in key or ".ca." in key or ".out" in key else 2**0.5
        scale = gain / math.sqrt(math.prod(tensor.shape[1:])) if tensor.dim() > 1 else 0.05
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
    return network


def picture(size):
    """A picture with the smoothness of a photo: noise of many scales."""
    generator = torch.Generator().manual_seed(size)
    total = torch.zeros(1, 3, size, size)
    for scale in (2, 4, 8, 16, 32, 64):
        noise = torch.randn(1, 3, scale, scale, generator=generator) / scale**0.5
        total += F.interpolate(noise, (size, size), mode="bicubic", align_corners=False)
    return torch.sigmoid(total)


def work(name, size, way, repeats, out):
    """Child process: run one way, leave its numbers and its output."""
    from dereflect.methods.ytmt.fast.system import FastSystem

    network = system(name)
    if way == "plain":
        run = network.stages
    else:
        run = FastSystem(network, torch.device("cpu"), getattr(torch, way)).stages
    image = picture(size)
    clocks, processor = [], []
    with torch.inference_mode():
        for _ in range(repeats):
            clock, used = time.perf_counter(), time.process_time()
            result = run(image)
            clocks.append(time.perf_counter() - clock)
            processor.append(time.process_time() - used)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        count = MultiplyAdds()
        if size <= 256:
            with count:
                run(image)
    torch.save(torch.stack([layer for pair in result for layer in pair]), out)
    print(json.dumps({"clock": min(clocks), "processor": min(processor), "peak": peak, "macs": count.total}))


def start(name, size, way, repeats, out):
    command = [sys.executable, __file__, "--child", name, str(size), way, str(repeats), str(out)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def has_bfloat16():
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and "avx512_bf16" in flags.read_text()


def free_memory():
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 512, 1024])
    parser.add_argument("--networks", nargs="+", default=["uct", "uct_old"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    add_option(parser, "ytmt.speed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        name, size, way, repeats, out = options.child
        work(name, int(size), way, int(repeats), Path(out))
        return
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    fast = ["float32", *(["bfloat16"] if has_bfloat16() else [])]
    print(f"PyTorch {torch.__version__}, {options.threads} threads, dtypes {', '.join(fast)}")
    cpu = torch.device("cpu")
    rates = {way: convolution_rate(cpu, getattr(torch, way), 128, 256) / 2 for way in fast}
    rows = {size: [] for size in options.sizes}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            macs = {
                way: start(name, 224, way, 1, Path(folder) / "x")["macs"] / 224**2 for way in ("plain", *fast)
            }
            for size in options.sizes:
                rows[size] += compare(name, size, fast, macs, rates, options.repeats, Path(folder))
    for size, table in rows.items():
        part = "" if size == options.sizes[0] else f".{size}"
        record(options, {"size": size, "rows": table}, part=part)


def row(name, size, way, measured, macs, **more):
    """What `--record` keeps of one path."""
    kept = {"network": name, "path": way, "seconds": round(measured["clock"], 1), "faster": None}
    kept |= {"mebibytes": round(measured["peak"] / 2**20), "of_plain": None}
    kept["multiply_adds"] = round(macs[way] * size**2 / 1e9)
    return kept | {"rate": None, "difference": None} | more


def compare(name, size, fast, macs, rates, repeats, folder):
    plain, expected, rows = None, None, []
    if PLAIN_BYTES_PER_PIXEL * size**2 < 0.9 * free_memory():
        plain = start(name, size, "plain", repeats, folder / "plain")
        expected = torch.load(folder / "plain", weights_only=True)
        rows.append(row(name, size, "plain", plain, macs))
        print(
            f"{name:8} {size:4} plain     {plain['clock']:7.2f} s  {plain['peak'] / 2**20:6.0f} MiB  "
            f"{macs['plain'] * size**2 / 1e9:6.0f} G multiply-adds",
            flush=True,
        )
    else:
        print(f"{name:8} {size:4} plain     needs {PLAIN_BYTES_PER_PIXEL * size**2 / 2**30:.0f} GiB, not run")
    for way in fast:
        ours = start(name, size, way, repeats, folder / way)
        output = torch.load(folder / way, weights_only=True)
        work_left = macs[way] * size**2
        share = work_left / ours["clock"] / rates[way]
        rows.append(row(name, size, way, ours, macs, rate=round(share, 2)))
        line = (
            f"{name:8} {size:4} {way:9} {ours['clock']:7.2f} s  {ours['peak'] / 2**20:6.0f} MiB  "
            f"{work_left / 1e9:6.0f} G multiply-adds, {share:.0%} of {rates[way] / 1e9:.0f} G/s"
        )
        if plain:
            rows[-1]["faster"] = round(plain["clock"] / ours["clock"], 1)
            rows[-1]["of_plain"] = round(ours["peak"] / plain["peak"], 2)
            rows[-1]["difference"] = float(f"{(output - expected).abs().max():.1e}")
            clock, used = plain["clock"] / ours["clock"], plain["processor"] / ours["processor"]
            line += (
                f"  time x{clock:.2f} (processor x{used:.2f})  memory {ours['peak'] / plain['peak']:.0%}"
                f"  largest difference {(output - expected).abs().max():.1e}"
            )
        elif way == "float32":
            expected = output
        else:
            line += f"  largest difference from fast float32 {(output - expected).abs().max():.1e}"
        print(line, flush=True)
    return rows


if __name__ == "__main__":
    run_script(main)
