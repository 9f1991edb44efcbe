import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import reports
from PIL import Image

from dereflect.data.layouts import find_data_sets
from dereflect.data.pairs import read_rgb
from dereflect.errors import InputError
from dereflect.evaluation.metrics import psnr, ssim
from dereflect.evaluation.protocol import PROTOCOLS, find_protocol
from dereflect.evaluation.records import UNTOUCHED, Record, read_records
from dereflect.evaluation.report import write_report
from dereflect.evaluation.run import EvaluationJob, run
from dereflect.evaluation.summary import Spread, bootstrap, difference, spread, summarise, worst_first
from dereflect.evaluation.tables import gain_tables, to_markdown
from dereflect.evaluation.verdicts import verdicts

from .conftest import Dimmer, make_pairs


def job(data, system, folder, protocol="plain", **changes):
    return EvaluationJob([system], data, PROTOCOLS[protocol], folder, {}, **changes)


def numbers(records):
    return [(r.model, r.picture, r.layers) for r in records]


def test_each_picture_is_measured_beside_the_untouched_input(data, dimmer, tmp_path):
    records = run(job(data, dimmer, tmp_path / "out"))
    assert [(r.model, r.picture) for r in records] == [(m, p) for m in (UNTOUCHED, "dimmer") for p in "abc"]
    pair = data[0].pairs[1]
    photo, truth = read_rgb(pair.blended), read_rgb(pair.transmission)
    expected = np.rint(photo.astype(np.float32) / 255 * np.float32(0.5) * 255).astype(np.uint8)
    assert records[4].layers["transmission"]["psnr"] == psnr(expected, truth)
    assert records[4].layers["transmission"]["ssim"] == ssim(expected, truth)
    assert records[1].layers["reflection"]["psnr"] == psnr(photo, read_rgb(pair.reflection))
    assert "lpips_alex" not in records[4].layers["transmission"]
    assert records[4].seconds > 0
    assert records[1].seconds is None


def test_numbers_do_not_depend_on_the_number_of_workers(data, dimmer, tmp_path):
    one = run(job(data, dimmer, tmp_path / "one"))
    four = run(job(data, dimmer, tmp_path / "four", workers=4))
    assert numbers(one) == numbers(four)


def test_a_second_run_uses_what_is_there_and_redoes_what_changed(data, dimmer, tmp_path):
    first = run(job(data, dimmer, tmp_path / "out"))
    again = Dimmer()
    assert numbers(run(job(data, again, tmp_path / "out"))) == numbers(first)
    assert again.seen == []
    Image.new("RGB", (56, 40), (9, 9, 9)).save(data[0].pairs[0].transmission)
    run(job(data, again, tmp_path / "out"))
    assert len(again.seen) == 1
    other = Dimmer(share=0.4)
    run(job(data, other, tmp_path / "out"))
    assert len(other.seen) == 3


def test_a_run_cut_short_goes_on_where_it_stopped(data, dimmer, tmp_path):
    class Breaks(Dimmer):
        def separate(self, picture):
            if len(self.seen) == 2:
                raise KeyboardInterrupt
            return super().separate(picture)

    with pytest.raises(KeyboardInterrupt):
        run(job(data, Breaks(), tmp_path / "out"))
    store = tmp_path / "out" / "records.jsonl"
    store.write_bytes(store.read_bytes() + '{"key": "half a ü'.encode()[:-1])
    assert len(read_records(store)) == 5
    rest = Dimmer()
    assert numbers(run(job(data, rest, tmp_path / "out"))) == numbers(
        run(job(data, dimmer, tmp_path / "new"))
    )
    assert len(rest.seen) == 1
    third = Dimmer()  # what was left of the cut line must not spoil the record that came after it
    run(job(data, third, tmp_path / "out"))
    assert third.seen == []


def test_a_protocol_fixes_the_size_that_the_model_sees(tmp_path):
    sets = find_data_sets(make_pairs(tmp_path / "odd", names=("a",), size=(50, 70)))
    system = Dimmer()
    record = run(job(sets, system, tmp_path / "ytmt", "ytmt"))[1]
    assert system.seen[-1] == ((48, 64, 3), np.uint8)
    assert (record.width, record.height) == (64, 48)
    record = run(job(sets, system, tmp_path / "diffrs", "diffrs"))[1]
    assert system.seen[-1] == ((960, 960, 3), np.float32)
    assert (record.width, record.height) == (70, 50)
    assert set(record.layers["transmission"]) == {"psnr", "psnr_aligned", "ssim"}
    with pytest.raises(InputError, match="at least 32 pixels"):
        PROTOCOLS["dsrnet"].aligned_size(31, 100)
    with pytest.raises(InputError, match="protocol x: unknown; one of plain"):
        find_protocol("x")


@pytest.mark.parametrize(
    ("size", "wanted"), [((1122, 600), (1024, 544)), ((700, 1138), (608, 1024)), ((3000, 20), (1024, 32))]
)
def test_a_longest_side_is_met_exactly(size, wanted):
    """1122 * (1024 / 1122) is a little less than 1024 in floating point."""
    assert PROTOCOLS["rdnet-photo"].aligned_size(*size) == wanted


def test_a_picture_too_small_to_measure_is_named(tmp_path):
    sets = find_data_sets(make_pairs(tmp_path / "tiny", names=("small",), size=(6, 9)))
    with pytest.raises(InputError, match=r"small\.png: SSIM needs"):
        run(job(sets, Dimmer(), tmp_path / "out"))


def test_learned_measures_get_pictures_in_the_unit_range(data, dimmer, tmp_path):
    seen = []

    def lpips(x, y):
        seen.append((x.min(), x.max(), x.dtype))
        return 0.25

    work = replace(job(data, dimmer, tmp_path / "out", "dmdnet"), perceptual={"lpips_alex": lpips})
    records = run(work)
    assert records[-1].layers["transmission"]["lpips_alex"] == 0.25
    assert all(low >= 0 and high <= 1 and kind == np.float32 for low, high, kind in seen)


def test_means_are_over_pictures_with_wins_and_gains(data, dimmer, tmp_path):
    records = run(job(data, dimmer, tmp_path / "out"))
    rows = {(row.model, row.layer): row for row in summarise(records, PROTOCOLS["plain"])}
    own = [r.layers["transmission"]["psnr"] for r in records if r.model == "dimmer"]
    before = [r.layers["transmission"]["psnr"] for r in records if r.model == UNTOUCHED]
    row = rows["dimmer", "transmission"]
    assert row.means["psnr"].mean == pytest.approx(np.mean(own))
    assert row.gains["psnr"].mean == pytest.approx(np.mean(own) - np.mean(before))
    assert row.means["psnr"].low <= row.means["psnr"].mean <= row.means["psnr"].high
    assert (row.wins, rows[UNTOUCHED, "transmission"].wins) == (3, 0)
    assert worst_first(records, PROTOCOLS["plain"])[0] == ("mine", "abc"[int(np.argmin(own))])


def test_bootstrap_is_repeatable_and_covers_the_mean():
    values = list(np.random.default_rng(1).normal(5, 1, 40))
    found = bootstrap(values, 3)
    assert found == bootstrap(values, 3)
    assert found.low < 5 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(values) / math.sqrt(40), rel=0.15)
    assert math.isnan(bootstrap([2.0], 1).low)
    assert bootstrap([math.inf, 1.0], 1).mean == math.inf


def test_the_report_is_written_whole_and_opens_offline(tmp_path):
    make_pairs(tmp_path / "sets" / "real20", names=("3", "22"), reflection=False)
    make_pairs(tmp_path / "sets" / "mine", names=("a&b", "ß"), seed=1)
    sets = find_data_sets(tmp_path / "sets")
    out = tmp_path / "out"
    records = run(job(sets, Dimmer("my_model & co"), out))
    paths = write_report(out, records, sets, PROTOCOLS["plain"], {"DISTS": "no weights"})
    assert {path.name for path in paths} == {
        "report.html", "results.json", "results.csv", "tables.md", "tables.tex"
    }  # fmt: skip
    page = (out / "report.html").read_text()
    for address in ("http://", "https://", "//cdn"):
        assert address not in page
    assert "a&amp;b" in page
    assert "DISTS is absent: no weights" in page
    assert page.index("aligned PSNR by") < page.index("<table>")
    assert "gain over the untouched photo in dB" in page
    assert "2 pictures here, 20 in the published set" in page
    assert "YTMT-UCT" in page
    sources = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert sources
    assert all((out / source).is_file() for source in sources)
    content = json.loads((out / "results.json").read_text())
    assert content["summary"][0]["data"] == "all pictures"
    ours = content["summary"][1]
    assert ours["spreads"]["psnr_aligned"]["pictures"] == ours["pictures"] == 4
    assert ours["means"]["psnr_aligned"]["mean"] > ours["means"]["psnr"]["mean"]
    assert content["protocol"]["columns"]["psnr_aligned"].startswith(
        "dB, one error over all three channels, after"
    )
    assert len(content["pictures"]) == 8
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert len(rows) == 2 * 2 + 2 * 4
    assert float(rows[-1]["psnr_aligned"]) == records[-1].layers["transmission"]["psnr_aligned"]
    assert float(rows[-1]["psnr"]) == records[-1].layers["transmission"]["psnr"]
    assert "my\\_model \\& co" in (out / "tables.tex").read_text()
    assert "[1] printed in YTMT" in (out / "tables.md").read_text()


def test_a_perfect_result_is_no_invalid_json(tmp_path):
    sets = find_data_sets(make_pairs(tmp_path / "set", names=("a",)))
    records = run(job(sets, Dimmer(), tmp_path / "out"))
    assert records[1].layers["reflection"]["psnr"] > 50
    Image.fromarray(read_rgb(sets[0].pairs[0].blended)).save(sets[0].pairs[0].transmission)
    records = run(job(sets, Dimmer(), tmp_path / "out"))
    assert records[0].layers["transmission"]["psnr"] == math.inf
    write_report(tmp_path / "out", records, sets, PROTOCOLS["plain"], {})
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["pictures"][0]["layers"]["transmission"]["psnr"] == "inf"
    assert read_records(tmp_path / "out" / "records.jsonl")[records[0].key] == records[0]


def test_the_verdict_speaks_of_each_model_or_of_the_best_of_many(data, tmp_path):
    systems = [Dimmer(f"share {share}", share) for share in (0.5, 0.6, 0.7, 0.8)]
    protocol = PROTOCOLS["plain"]
    few = verdicts(
        summarise(run(EvaluationJob(systems[1:], data, protocol, tmp_path / "few", {})), protocol), protocol
    )
    assert len(few) == 6  # three models, two layers
    assert few[0].text.startswith("share 0.6 raises the PSNR of the transmission on mine by ")
    assert "better on 3 of them" in few[0].text
    many = verdicts(
        summarise(run(EvaluationJob(systems, data, protocol, tmp_path / "many", {})), protocol), protocol
    )
    assert many[0].text.startswith("Best of 4 on the transmission: share 0.5 raises the PSNR of ")
    assert len(many) == 1


def records_of(gains):
    """A model on as many photos, each with 20 dB before and a gain, and half of that aligned."""
    numbers = {UNTOUCHED: [0.0] * len(gains), "ours": gains}
    return [
        Record(
            f"{model} {photo}", model, "mine", f"{photo:02}", 64, 64,
            {"transmission": {"psnr": 20.0 + gain, "psnr_aligned": 25.0 + gain / 2}},
        )
        for model, changes in numbers.items()
        for photo, gain in enumerate(changes)
    ]  # fmt: skip


def test_the_first_sentence_names_both_gains_and_the_photos_made_worse():
    gains = [3.0] * 20 + [-2.0, -4.0] * 5 + [-0.4] * 2
    rows = summarise(records_of(gains), PROTOCOLS["plain"])
    (verdict,) = verdicts(rows, PROTOCOLS["plain"])
    assert verdict.text == (
        "ours raises the PSNR of the transmission on mine by 0.91 dB (from 20.00 to 20.91) and raises the "
        "aligned PSNR by 0.46 dB (from 25.00 to 25.46) over the photo left as it is, mean of 32 pictures, "
        "better on 20 of them. It makes 10 of 32 (31 %) worse by more than 0.5 dB; its median gain is +3.00 "
        "dB, that of the worst 5 % -4.00 dB."
    )
    assert verdict.harmful
    (kind,) = verdicts(summarise(records_of([1.0] * 30 + [-1.0]), PROTOCOLS["plain"]), PROTOCOLS["plain"])
    assert not kind.harmful
    assert "It makes 1 of 31 (3 %) worse" in kind.text


def test_a_table_shows_how_gains_are_spread():
    (table,) = gain_tables(
        summarise(records_of([3.0, 1.0, -2.0, 2.0]), PROTOCOLS["plain"]), PROTOCOLS["plain"]
    )
    assert table.title == "mine, transmission: gain over the untouched photo in dB"
    text = to_markdown(table)
    assert "| model, measure | mean | median | worst 5 % | worse by more than 0.5 dB |" in text
    assert [line.label for line in table.lines] == ["ours, PSNR", "ours, aligned PSNR"]
    assert table.lines[0].cells[1:] == ["+1.50", "-2.00", "1 of 4 (25 %)"]
    assert table.lines[1].cells[0].startswith("+0.50 [")


def test_the_worst_photos_are_rounded_up_and_the_limit_itself_is_no_harm():
    gains = list(np.linspace(-0.5, 10, 41))
    assert spread(gains, 0.5) == Spread(pytest.approx(4.75), pytest.approx(np.mean(gains[:3])), 0, 41)
    assert spread([-math.inf, 1.0], 0.5).harmed == 1
    assert difference(math.inf, math.inf) == 0  # perfect before and after


def test_a_report_is_recorded_by_data_set_and_by_kind(data, dimmer, tmp_path):
    records = run(job(data, dimmer, tmp_path / "out"))
    write_report(tmp_path / "out", records, data, PROTOCOLS["plain"], {})
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    values = reports.quality(report, "mine", "dimmer")
    gains = reports.gains_of(report, "mine", "dimmer")
    assert values["pictures"] == values["better"] == len(gains) == 3
    assert values["gain"] == pytest.approx(sum(gains) / 3, abs=0.01)
    assert values["model"]["psnr"] - values["input"]["psnr"] == pytest.approx(values["gain"], abs=0.02)
    (row,) = reports.kinds(report, "dimmer")["rows"]
    assert (row["data"], row["gain"], row["worse"]) == ("mine", values["gain"], 0)
    assert row["aligned"] == pytest.approx(0, abs=0.1)  # a dimmer changes tone alone
