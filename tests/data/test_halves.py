from pathlib import Path

from dereflect.data.halves import ShuffledHalves

PHOTOS = [Path(f"folder{number % 2}/{6 - number}.png") for number in range(7)]


def test_halves_are_paired_by_name_first_and_shuffled_later():
    halves = ShuffledHalves(PHOTOS, seed=1)
    assert len(halves) == 3
    first = [tuple(path.stem for path in halves.pair(0, index)) for index in range(3)]
    assert first == [("0", "3"), ("1", "4"), ("2", "5")]
    later = [[path.stem for path in halves.pair(epoch, index)] for epoch in (1, 2, 1) for index in range(3)]
    assert later[:3] == later[6:]
    assert later[:3] != later[3:6]
    assert len({stem for pair in later[:3] for stem in pair}) == 6  # nobody twice in an epoch


def test_the_order_depends_on_the_seed():
    orders = [[ShuffledHalves(PHOTOS, seed).pair(1, index) for index in range(3)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
