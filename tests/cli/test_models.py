"""The table of `dereflect models`."""

import pytest
from command_line import invoke

from dereflect.catalog import CARDS
from dereflect.cli.model_table import WIDTH, table
from dereflect.errors import InputError
from dereflect.methods.card import ModelCard, Score
from dereflect.methods.costs import Cost
from dereflect.methods.ranking import by_quality


def card(name: str, **facts) -> ModelCard:
    known = {"family": name, "summary": "", "paper": "", "licence": "MIT", "weights": "", "megabytes": 20.0}
    return ModelCard(name, **known | facts)


def test_every_model_has_one_line_in_the_order_of_quality():
    printed = invoke("models").output.splitlines()
    names = [line.split()[0] for line in printed[1 : 1 + len(CARDS)]]
    assert names == [each.name for each in by_quality(CARDS.values())]
    assert all(len(line) <= WIDTH for line in printed)
    (default,) = (line for line in printed[: 1 + len(CARDS)] if line.startswith("default "))
    assert default.endswith("yes")  # it is in the package


def test_a_line_says_quality_with_protocol_size_cost_licence_and_presence():
    score = Score("real20", 24.5, 0.8, "rdnet", "table 1")
    (_, line, *_) = table(
        [card("a", megabytes=1310.0, published=(score,), cost=Cost(66.4, 2374, "one core"))], lambda _: True
    )
    assert line.split() == ["a", "24.50", "real20", "(rdnet)", "1.3", "GB", "66.4", "2374", "MIT", "yes"]


def test_what_is_not_known_is_left_empty_and_an_estimate_is_marked():
    lines = table([card("a", megabytes=0.0), card("b", at_work=2700)], lambda _: False)
    assert lines[1].split() == ["a", "MIT", "no"]
    assert lines[2].split() == ["b", "20", "MB", "~2700", "MIT", "no"]


def test_long_licences_are_cut_and_names_are_not():
    long = card("a_model_of_a_long_name", licence="a licence of " + 20 * "very many words ")
    lines = table([long], lambda _: False)
    assert max(map(len, lines)) <= WIDTH
    assert lines[1].startswith("a_model_of_a_long_name ")
    assert "…  no" in lines[1]


def test_the_machine_of_the_numbers_is_named_once():
    cards = [card(name, cost=Cost(1, 2, "1 thread of a PDP-11")) for name in "ab"]
    assert "\n".join(table(cards, lambda _: False)).count("PDP-11") == 1


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model_index.json"])
def test_a_conversion_replaces_no_file_of_a_model_unasked(model_folder, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=rf"holds a model already \({name}\)"):
        invoke("models", "convert", model_folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"
