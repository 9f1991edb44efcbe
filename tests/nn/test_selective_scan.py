import importlib.util
import logging
import os
import subprocess
import sys

import pytest
import torch

from dereflect.errors import InputError
from dereflect.nn.selective_scan import dispatch, selective_scan

CASES = [  # batch, channels, length, states
    (1, 16, 64, 16),
    (2, 24, 97, 16),
    (1, 6, 1, 4),
    (1, 40, 333, 5),
]


def inputs(case, ordered, dtype=torch.float32, groups=2):
    batch, channels, length, states = case
    torch.manual_seed(sum(case))
    total = groups * channels
    return {
        "u": torch.randn(batch, channels if ordered else total, length, dtype=dtype),
        "delta": torch.randn(*((batch, 2, channels) if ordered else (batch, total)), length, dtype=dtype) * 3
        - 2,
        "A": -torch.exp(torch.randn(total, states, dtype=dtype)),
        "B": torch.randn(batch, groups, states, length, dtype=dtype),
        "C": torch.randn(batch, groups, states, length, dtype=dtype),
        "D": torch.randn(total, dtype=dtype),
        "delta_bias": torch.randn(total, dtype=dtype) / 2,
        "order": torch.stack([torch.randperm(length) for _ in range(batch)]) if ordered else None,
    }


def error(found, wanted):
    return ((found.double() - wanted.double()).norm() / wanted.double().norm().clamp_min(1e-30)).item()


@pytest.mark.parametrize("path", ["cpu", "chunked", "plain"])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_float32_paths_agree_with_the_plain_float64_scan(path, ordered, case):
    if path == "cpu":
        pytest.importorskip("numba")
    given = inputs(case, ordered)
    double = {
        key: value.double() if key != "order" and value is not None else value for key, value in given.items()
    }
    names = [key for key in given if key != "order"]
    for values in (given, double):
        for name in names:
            values[name].requires_grad_()
    y, wanted = selective_scan(**given, path=path), selective_scan(**double, path="plain")
    assert error(y, wanted) < 1e-6
    weights = torch.randn_like(y)
    found = torch.autograd.grad(y, [given[name] for name in names], weights)
    expected = torch.autograd.grad(wanted, [double[name] for name in names], weights.double())
    for name, one, other in zip(names, found, expected, strict=True):
        assert error(one, other) < 1e-5, name


def test_order_means_gather_scan_and_scatter():
    given = inputs((1, 4, 9, 3), ordered=True, dtype=torch.float64)
    order = given.pop("order")
    sequence = {key: given[key][..., order[0]] for key in ("u", "delta", "B", "C")}
    half = selective_scan(
        sequence["u"], sequence["delta"][:, 0], given["A"][:4], sequence["B"][:, :1], sequence["C"][:, :1],
        given["D"][:4], given["delta_bias"][:4],
    )  # fmt: skip
    back = selective_scan(
        sequence["u"].flip(-1), sequence["delta"][:, 1].flip(-1), given["A"][4:],
        sequence["B"][:, 1:].flip(-1), sequence["C"][:, 1:].flip(-1), given["D"][4:], given["delta_bias"][4:],
    ).flip(-1)  # fmt: skip
    raster = torch.empty_like(half)
    raster[..., order[0]] = half + back
    torch.testing.assert_close(selective_scan(**given, order=order), raster)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_step_sizes_of_low_rank_are_multiplied_out(case, grad):
    given = inputs(case, ordered=True)
    batch, channels, length, _ = case
    weight, factors = torch.randn(2 * channels, 3), torch.randn(batch, 2, 3, length)
    given["delta"] = torch.einsum("kcr,bkrl->bkcl", weight.unflatten(0, (2, -1)), factors)
    wanted = selective_scan(**given, path="plain")
    given["delta"] = factors
    with torch.set_grad_enabled(grad):
        found = selective_scan(**given, delta_weight=weight.requires_grad_(grad))
    assert error(found, wanted) < 1e-6
    assert found.requires_grad == grad


def test_low_rank_step_sizes_need_an_order():
    given = inputs(CASES[0], ordered=False)
    with pytest.raises(InputError, match="delta_weight needs an order"):
        selective_scan(**given, delta_weight=torch.randn(32, 3))


def test_scan_without_softplus_skip_and_bias():
    given = inputs((1, 16, 20, 16), ordered=False)
    given["delta"] = given["delta"].abs() / 5
    given["D"] = given["delta_bias"] = None
    plain = selective_scan(**given, delta_softplus=False, path="plain")
    for path in ("cpu", "chunked"):
        assert error(selective_scan(**given, delta_softplus=False, path=path), plain) < 1e-6


def test_threads_do_not_change_the_result():
    pytest.importorskip("numba")
    given = inputs((1, 64, 200, 16), ordered=True)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(selective_scan(**given, path="cpu"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)


def test_half_precision_is_scanned_in_float32():
    given = inputs((1, 16, 50, 16), ordered=False, dtype=torch.bfloat16)
    wide = {key: None if value is None else value.float() for key, value in given.items()}
    y = selective_scan(**given)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, selective_scan(**wide).bfloat16())


def test_the_path_is_said_once(caplog):
    dispatch.chosen_path.cache_clear()
    given = inputs((1, 4, 9, 3), ordered=False)
    with caplog.at_level(logging.INFO, "dereflect.selective_scan"):
        selective_scan(**given)
        selective_scan(**given)
    assert len(caplog.records) == 1
    assert "runs as" in caplog.text


def test_missing_numba_is_said_and_not_silent(monkeypatch, caplog):
    dispatch.chosen_path.cache_clear()
    kept = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else kept(name))
    given = inputs((1, 4, 9, 3), ordered=False)
    selective_scan(**given)
    assert "dereflect[fast]" in caplog.text
    with pytest.raises(ImportError, match=r"dereflect\[fast\]"):
        selective_scan(**given, path="cpu")
    dispatch.chosen_path.cache_clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "fastest"}, "path 'fastest': unknown"),
        ({"A": torch.zeros(3, 3)}, "A has shape"),
        ({"B": torch.zeros(1, 2, 3, 8)}, "B has shape"),
        ({"order": torch.zeros(1, 5, dtype=torch.long)}, "has shape"),
        ({"path": "mamba"}, "mamba_ssm is not installed"),
    ],
)
def test_bad_calls_are_named(change, message):
    given = inputs((1, 4, 9, 3), ordered=False) | change
    with pytest.raises(InputError, match=message):
        selective_scan(**given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_triton_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(InputError, match=r"Triton (needs a GPU|is not installed).*use path 'auto'"):
        selective_scan(**inputs((1, 4, 9, 3), ordered=False), path="triton")


def test_mamba_of_another_interface_is_refused(monkeypatch):
    from types import ModuleType

    from dereflect.nn.selective_scan import mamba

    package = ModuleType("mamba_ssm.ops.selective_scan_interface")
    package.selective_scan_fn = lambda u, delta, dt_bias: None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib, "import_module", lambda name: package)
    mamba.fault_of_mamba.cache_clear()
    assert "another interface (u, delta, dt_bias); install mamba_ssm 2.x" in mamba.fault_of_mamba()
    mamba.fault_of_mamba.cache_clear()


@pytest.mark.parametrize("body", ["", "selective_scan_fn = 3", "raise KeyError('x')", "def ("])
def test_mamba_that_does_not_load_is_refused(monkeypatch, tmp_path, body):
    from dereflect.nn.selective_scan import mamba

    folder = tmp_path / "mamba_ssm" / "ops"
    folder.mkdir(parents=True)
    for place in (folder.parent, folder):
        (place / "__init__.py").touch()
    (folder / "selective_scan_interface.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    mamba.fault_of_mamba.cache_clear()
    fault = mamba.fault_of_mamba()
    mamba.fault_of_mamba.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "mamba_ssm"]:
        del sys.modules[name]
    assert "the installed mamba_ssm does not load" in fault


INTERPRETED = """
import torch, sys
sys.path.insert(0, {tests!r})
from test_selective_scan import error, inputs
from dereflect.nn.selective_scan import selective_scan
for ordered in (False, True):
    for case in ((1, 6, 20, 16), (2, 5, 9, 5)):
        given = inputs(case, ordered)
        names = [name for name in given if name != "order"]
        for name in names:
            given[name].requires_grad_()
        results = []
        for path in ("triton", "plain"):
            y = selective_scan(**given, path=path)
            results.append((y, *torch.autograd.grad(y.square().sum(), [given[name] for name in names])))
        for found, wanted in zip(*results):
            assert error(found, wanted) < 1e-5, (ordered, case)
print("agreed")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_triton_kernel_agrees_in_the_interpreter():
    tests = os.path.dirname(__file__)
    source = os.path.join(tests, "..", "..", "src")
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED.format(tests=tests)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "agreed", done.stderr[-2000:]
