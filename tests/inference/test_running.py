"""The network at work: batches, mirrored copies, seeds, and memory that runs out."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from dereflect.errors import InputError
from dereflect.inference.plan import SeparatorSettings
from dereflect.inference.prepare import prepare
from dereflect.inference.run import BatchRunner, is_out_of_memory, run
from dereflect.separator import Separator
from simple_methods import SHARE, Noise, Share, array


class Raises(Share):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, blended: Tensor, *, generator=None, progress=None) -> tuple[Tensor, Tensor]:
        raise self.error


def test_beyond_the_photo_the_network_sees_it_mirrored():
    seen = []

    class Seeing(Share):
        def forward(self, blended: Tensor, *, generator=None, progress=None) -> tuple[Tensor, Tensor]:
            seen.append(blended[0].permute(1, 2, 0).numpy())
            return super().forward(blended)

    values = array(5, 11)  # mirrored back and forth on the shorter side
    Separator(Seeing(size_multiple=8, min_size=16), dtype="float32")(values)
    continued = np.pad(values, ((0, 11), (0, 5), (0, 0)), mode="reflect")
    np.testing.assert_allclose(seen[0] * 255, continued, atol=1e-3)


def test_the_seconds_of_a_batch_are_shared_out_and_added(monkeypatch):
    prepared = replace(prepare(array(), SeparatorSettings(), Share().traits, 1 << 30), seconds=1.0)
    clock = iter([10.0, 14.0])
    monkeypatch.setattr("dereflect.inference.run.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    ran = run(BatchRunner(Share(), torch.device("cpu")), [prepared, prepared])
    assert [each.seconds for each in ran] == [3.0, 3.0]


def test_best_runs_mirrored_and_reduced_copies():
    method = Share()
    Separator(method, dtype="float32", quality="best")(array(40, 80))
    assert method.seen == [(1, 3, 40, 80)] * 2 + [(1, 3, 30, 60)] * 2


def test_best_averages_each_tile():
    method = Share(tile_overlap=8)
    Separator(method, dtype="float32", quality="best", tile=32)(array(32, 56))
    assert method.seen == 2 * ([(1, 3, 32, 32)] * 2 + [(1, 3, 24, 24)] * 2)


def test_best_turns_what_mirrored_copies_give_back_again():
    photo = np.zeros((60, 90, 3), np.uint8) + np.linspace(0, 255, 90).round().astype(np.uint8)[:, None]
    best = Separator(Share(0.5), dtype="float32", quality="best")(photo).to_numpy()
    for layer in best:  # dark on the left, bright on the right, as the photo is
        assert np.abs(layer - photo / 2).max() <= 2


def test_stream_keeps_the_order_and_batches_equal_sizes():
    method = Share()
    separator = Separator(method, dtype="float32")
    sizes = [(10, 12), (10, 12), (8, 8), (10, 12), (10, 12), (10, 12)]
    pictures = [array(*size, seed=seed) for seed, size in enumerate(sizes)]
    results = list(separator.stream(iter(pictures), batch_size=2))
    assert method.seen == [(2, 3, 10, 12), (1, 3, 8, 8), (2, 3, 10, 12), (1, 3, 10, 12)]
    for result, values in zip(results, pictures, strict=True):
        assert np.array_equal(result.to_numpy()[0], np.rint(values * SHARE).astype(np.uint8))
        assert np.array_equal(result.to_numpy()[1], np.rint(values * (1 - SHARE)).astype(np.uint8))


def test_stream_runs_pictures_to_be_tiled_alone():
    separator = Separator(Share(tile_overlap=8), dtype="float32", tile=32)
    pictures = [array(40, 50, seed=1), array(40, 50, seed=2), array(20, 20), array(20, 20, seed=3)]
    for result, values in zip(separator.stream(pictures, batch_size=2), pictures, strict=True):
        assert np.abs(result.to_numpy()[0] - values * SHARE).max() <= 0.5 + 1e-3


def test_stream_runs_a_full_batch_before_it_asks_for_the_next_picture():
    separator = Separator(Share(), dtype="float32")
    asked = []

    def pictures():
        for number in range(4):
            asked.append(number)
            yield array(seed=number)

    results = separator.stream(pictures(), batch_size=2)
    next(results)
    assert asked == [0, 1]
    assert not torch.is_inference_mode_enabled()  # the caller's code between two pictures is its own


def test_stream_of_a_method_that_cannot_batch_runs_one_by_one():
    method = Share(batchable=False)
    assert len(list(Separator(method, dtype="float32").stream([array(), array()], batch_size=4))) == 2
    assert {shape[0] for shape in method.seen} == {1}


@pytest.mark.parametrize("settings", [{}, {"max_size": 20}, {"tile": 32}], ids=["whole", "fitted", "tiled"])
def test_random_methods_repeat_with_their_seed(settings):
    separator = Separator(Noise(), dtype="float32", seed=3, **settings)
    values = array(40, 50)
    first = separator(values).to_numpy()[1]
    assert np.array_equal(first, separator(values).to_numpy()[1])
    assert np.array_equal(first, separator(values, seed=3).to_numpy()[1])
    assert not np.array_equal(first, separator(values, seed=4).to_numpy()[1])
    assert np.array_equal(first, separator.develop(separator.analyse(values)).to_numpy()[1])
    (streamed,) = separator.stream([values], seed=4)
    assert np.array_equal(streamed.to_numpy()[1], separator(values, seed=4).to_numpy()[1])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8.00 PiB for an array"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB, max allowed: 9 GB)."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_running_out_of_memory_says_what_to_do(error):
    with pytest.raises(
        InputError, match=r"40 x 30: needs more memory than cpu has; give a smaller .*max.size"
    ):
        Separator(Raises(error), device="cpu")(array())


def test_the_cpu_s_allocator_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("unsupported memory format option ChannelsLast"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        ValueError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_other_faults_that_speak_of_memory_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught:
        Separator(Raises(error), device="cpu")(array())
    assert caught.value is error
