"""Which photos benchmarks/held_out_synthesis.py measures: those that training left out, or as many others."""

from pathlib import Path

import held_out_synthesis
import pytest

from dereflect.data.crops import held_out
from dereflect.errors import InputError


def test_seen_photos_are_others_than_the_held_out_ones_and_as_many():
    paths = [Path(f"{number}.jpg") for number in range(200)]
    held, seen = (held_out_synthesis.choose(paths, seen) for seen in (False, True))
    assert held == [path for path in paths if held_out(path, 20)]
    assert len(held) == len(set(seen)) == len(seen) > 2
    assert not set(seen) & set(held)
    assert set(seen) < set(paths)


@pytest.mark.parametrize("seen", [False, True])
def test_too_few_photos_for_a_picture_are_refused(seen):
    one = next(path for number in range(200) if held_out(path := Path(f"in/{number}.jpg"), 20))
    with pytest.raises(InputError, match="in: holds"):
        held_out_synthesis.choose([one], seen)
