import pytest

from dereflect.methods.objective import since


@pytest.mark.parametrize(
    ("place", "value"), [(0, 1.0), (29, 1.0), (30, 0.5), (49, 0.5), (50, 0.1), (99, 0.1)]
)
def test_of_the_marks_reached_the_last_holds_in_whatever_order_they_are_written(place, value):
    assert since({50: 0.1, 30: 0.5}, place, 1.0) == value
