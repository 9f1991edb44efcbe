"""The order in which samples are trained on."""

from toy import ToyObjective

from dereflect.training.order import SampleOrder


def _epochs(shuffled: bool, seed: int = 0) -> list[list[tuple[int, int]]]:
    objective = ToyObjective()
    objective.shuffled = shuffled
    order, many = SampleOrder(objective, seed), len(objective.samples)
    return [[order(number) for number in range(many * epoch, many * (epoch + 1))] for epoch in range(3)]


def test_every_epoch_holds_each_sample_once() -> None:
    for epoch, places in enumerate(_epochs(shuffled=True)):
        assert sorted(places) == [(epoch, index) for index in range(12)]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    first, second, _ = ([index for _, index in places] for places in _epochs(shuffled=True))
    other = [index for _, index in _epochs(shuffled=True, seed=1)[0]]
    assert first != list(range(12))
    assert (first != second, first != other) == (True, True)


def test_the_order_is_the_same_where_a_run_is_taken_up_again() -> None:
    objective = ToyObjective()
    objective.shuffled = True
    assert SampleOrder(objective, 0)(17) == _epochs(shuffled=True)[1][5]


def test_an_objective_may_have_its_samples_in_the_order_of_their_numbers() -> None:
    assert _epochs(shuffled=False)[1] == [(1, index) for index in range(12)]
