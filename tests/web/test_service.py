"""What the HTTP service answers when all is well."""

import io
import json
import re
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from dereflect import images
from dereflect.methods.contract import Method, Traits
from dereflect.separator import Separator
from dereflect.web.previews import preview
from dereflect.web.previews import shown as small_copy
from dng import dng
from simple_methods import Share


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_separate_returns_the_transmission_as_png(server, picture):
    content = picture()
    answer = server.separate(content)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    expected = server.separator(content).pictures["transmission"]
    assert answer.content == images.encode(expected, "PNG")


def test_keep_gives_format_name_and_metadata_of_the_photo(server, picture):
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    content = picture(format="JPEG", exif=exif.tobytes())
    answer = server.separate(content, "Garden Door.JPG", format="keep", layers="reflection")
    assert answer.headers["content-type"] == "image/jpeg"
    assert 'filename="Garden Door_reflection.JPG"' in answer.headers["content-disposition"]
    assert Image.open(io.BytesIO(answer.content)).getexif()[0x010F] == "A camera"
    assert answer.content == images.encode(server.separator(content).pictures["reflection"], "JPEG")
    bare = server.separate(content, "a.jpg", format="keep", metadata="false")
    assert not len(Image.open(io.BytesIO(bare.content)).getexif())


def test_both_layers_come_as_a_zip_with_facts(server, picture):
    content = picture()
    answer = server.separate(content, "fenêtre.png", layers="both")
    assert answer.headers["content-type"] == "application/zip"
    assert "filename*=UTF-8''fen%C3%AAtre_layers.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["fenêtre_transmission.png", "fenêtre_reflection.png", "result.json"]
        facts = json.loads(archive.read("result.json"))
        layers = [pixels(archive.read(name)) for name in archive.namelist()[:2]]
    assert (facts["width"], facts["height"], facts["model"]) == (40, 30, "share")
    assert facts["residual"] < 0.002
    assert np.abs(layers[0].astype(int) + layers[1] - pixels(content)).max() <= 1


def test_a_raw_file_is_developed(server):
    pytest.importorskip("rawpy", reason="raw files need the extra 'raw' (rawpy)")
    answer = server.separate(dng(orientation=6), "window.DNG", format="keep")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/tiff"
    assert 'filename="window_transmission.tiff"' in answer.headers["content-disposition"]
    picture = images.read(answer.content)
    assert (picture.width, picture.height, picture.pixels.dtype) == (96, 128, np.uint16)
    cut = server.separate(dng(cut=50), "window.DNG")
    assert cut.status_code == 415
    assert cut.json()["error"] == "image: damaged picture: it is cut off; get an undamaged copy"


def test_a_raw_file_without_the_extra_is_answered_in_one_line(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    answer = server.separate(dng(), "window.dng")
    assert answer.status_code == 415
    assert answer.json()["error"].startswith("image: a raw file of a camera needs rawpy: run pip install")


class Blind(Method):
    """Finds no reflection in any photo."""

    family = "blind"
    traits = Traits(fades=True)

    def forward(self, blended, *, generator=None, progress=None):
        return blended, 0 * blended


def test_a_photo_in_which_no_reflection_was_found_is_answered_with_a_word(start, picture):
    with start(more={"blind": Separator(Blind(), name="blind", device="cpu", dtype="float32")}) as server:
        left = server.separate(picture(), model="blind")
        assert left.headers["x-dereflect-reflection-found"] == "false"
        with zipfile.ZipFile(
            io.BytesIO(server.separate(picture(), model="blind", layers="both").content)
        ) as archive:
            assert json.loads(archive.read("result.json"))["reflection_found"] is False
        job = server.client.post(
            "/v1/jobs", files={"image": ("a.png", picture())}, data={"model": "blind"}
        ).json()
        state = f"/v1/jobs/{job['id']}"
        server.wait_until(lambda: server.client.get(state).json()["state"] == "done")
        assert server.client.get(state).json()["result"]["reflection_found"] is False
        assert "x-dereflect-reflection-found" not in server.separate(picture()).headers


def test_strength_and_mask_do_what_the_python_interface_does(server, picture):
    content = picture()
    mask = Image.fromarray((np.arange(30 * 40).reshape(30, 40) % 256).astype(np.uint8))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    for strength in ("0.4", "-0.7", "0"):
        answer = server.client.post(
            "/v1/separate",
            files={"image": ("a.png", content), "mask": ("m.png", buffer.getvalue())},
            data={"strength": strength},
        )
        expected = server.separator(content, strength=float(strength), mask=mask).to_numpy()[0]
        assert np.array_equal(pixels(answer.content), expected)


def test_strokes_do_what_the_python_interface_does_without_the_network(server, picture):
    content = picture()
    strokes = np.zeros((30, 40, 4), np.uint8)
    strokes[10:14, 5:30] = (255, 0, 0, 255)
    drawn = io.BytesIO()
    Image.fromarray(strokes).save(drawn, "PNG")
    expected = server.separator(content, strokes=strokes).to_numpy()[0]
    assert not np.array_equal(expected, server.separator(content).to_numpy()[0])
    files = {"image": ("a.png", content), "strokes": ("s.png", drawn.getvalue())}
    assert np.array_equal(pixels(server.client.post("/v1/separate", files=files).content), expected)
    job = server.client.post("/v1/jobs", files={"image": ("a.png", content)}).json()
    state = f"/v1/jobs/{job['id']}"
    server.wait_until(lambda: server.client.get(state).json()["state"] == "done")
    runs = server.separator.method.runs
    answer = server.client.post(
        f"{state}/render", files={"strokes": ("s.png", drawn.getvalue())}, data={"format": "png"}
    )
    assert np.array_equal(pixels(answer.content), expected)
    for layer in ("transmission", "reflection"):
        shown = server.client.post(
            f"{state}/previews/{layer}", files={"strokes": ("s.png", drawn.getvalue())}
        )
        with_strokes = server.separator(content, strokes=strokes).pictures[layer]
        assert shown.content == preview(with_strokes)
        assert shown.content != server.client.get(f"{state}/previews/{layer}").content
    assert server.separator.method.runs == runs + 2  # those of this test's own calls


def test_strokes_on_a_large_photo_are_shown_from_its_small_copy():
    separator = Separator(Share(), max_size=500)
    values = np.full((1500, 2000, 3), 200, np.uint8)
    analysis = separator.analyse(values)
    strokes = np.zeros((150, 200, 4), np.uint8)
    strokes[40:60, 20:180] = (0, 0, 255, 255)
    small = separator.develop(small_copy(analysis), strokes=strokes).to_numpy()[0].astype(int)
    full = separator.develop(analysis, strokes=strokes).to_numpy()[0].astype(int)
    assert small.shape == (1200, 1600, 3)
    assert np.abs(small[::4, ::4] - full[::5, ::5]).mean() < 1
    assert np.abs(small[400, 800] - values[0, 0]).max() < 10  # the scene is back


def test_a_smaller_mask_is_brought_to_the_size_of_the_photo(server, picture):
    content = picture(80, 60)
    half = np.zeros((30, 40), np.uint8)
    half[:, 20:] = 255
    buffer = io.BytesIO()
    Image.fromarray(half).save(buffer, "PNG")
    answer = server.client.post("/v1/separate", files={"image": content, "mask": buffer.getvalue()})
    result, photo = pixels(answer.content).astype(int), pixels(content).astype(int)
    full = server.separator(content).to_numpy()[0]
    assert np.array_equal(result[:, :38], photo[:, :38])
    assert np.array_equal(result[:, 42:], full[:, 42:])


def test_quality_best_is_another_result_than_fast(server, picture):
    before = server.method.runs
    assert server.separate(picture(), quality="best").status_code == 200
    assert server.method.runs - before == 4


def test_models_and_health(server):
    (model,) = server.client.get("/v1/models").json()
    assert model["name"] == "share"
    assert model["default"] is True
    limits = server.client.get("/v1/limits").json()
    assert (limits["upload_bytes"], limits["pixels"]) == (64_000_000, 50_000_000)
    health = server.client.get("/healthz")
    assert health.status_code == 200
    assert health.json()["status"] == "ok"


def test_one_of_several_models_is_chosen_by_name(start, picture):
    class Other(Method):
        family = "other"
        traits = Traits()

        def forward(self, blended, *, generator=None, progress=None):
            return blended / 2, blended / 2

    other = Separator(Other(), name="other", device="cpu", dtype="float32")
    content = picture()
    with start(more={"other": other}) as server:
        listed = server.client.get("/v1/models").json()
        assert [(model["name"], model["default"]) for model in listed] == [("share", True), ("other", False)]
        for name, separator in (("share", server.separator), ("other", other), ("", server.separator)):
            expected = separator(content).to_numpy()[0]
            assert np.array_equal(pixels(server.separate(content, model=name).content), expected)


def test_metrics_count_in_prometheus_text(server, picture):
    def value(pattern: str) -> float:
        text = server.client.get("/metrics").text
        found = re.search(rf"^{re.escape(pattern)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    done = 'dereflect_jobs_total{model="share",outcome="done"}'
    ok = 'dereflect_requests_total{method="POST",route="/v1/separate",status="200"}'
    before = value(done), value(ok), value("dereflect_separation_seconds_count")
    server.separate(picture())
    server.client.get("/no/such/place/12345")
    assert (value(done), value(ok), value("dereflect_separation_seconds_count")) == tuple(
        x + 1 for x in before
    )
    text = server.client.get("/metrics").text
    assert "12345" not in text  # what callers make up does not become a line
    line = re.compile(r'(# (HELP|TYPE) \w+ .+)|(\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [-+.\w]+)')
    assert all(line.fullmatch(row) for row in text.splitlines())
    buckets = [float(row.rpartition(" ")[2]) for row in text.splitlines() if "_bucket{" in row]
    assert buckets == sorted(buckets)
    assert buckets[-1] == value("dereflect_separation_seconds_count")


def test_a_job_is_opened_watched_shown_rendered_and_forgotten(server, picture):
    content = picture(60, 44, "JPEG")
    server.method.gate.clear()
    opened = server.client.post("/v1/jobs", files={"image": ("x.jpg", content)})
    assert opened.status_code == 202
    path = f"/v1/jobs/{opened.json()['id']}"
    server.wait_until(lambda: server.client.get(path).json()["state"] == "running")
    assert server.client.get(path).json()["progress"] == {"done": 1, "total": 2}
    assert server.client.get(f"{path}/previews/photo").status_code == 409
    assert server.client.post(f"{path}/render", data={"strength": "1"}).status_code == 409
    server.method.gate.set()
    server.wait_until(lambda: server.client.get(path).json()["state"] == "done")
    result = server.client.get(path).json()["result"]
    assert (result["width"], result["height"], result["format"]) == (60, 44, "JPEG")
    for layer in ("photo", "transmission", "reflection"):
        shown = server.client.get(f"{path}/previews/{layer}")
        assert Image.open(io.BytesIO(shown.content)).size == (60, 44)
    runs = server.method.runs
    for strength in ("1", "0.5", "-1"):
        rendered = server.client.post(f"{path}/render", data={"strength": strength})
        result = server.separator.develop(server.separator.analyse(content), strength=float(strength))
        assert rendered.content == images.encode(result.pictures["transmission"], "JPEG")
    assert server.method.runs - runs == 3  # those of this test's own analyses: rendering runs no network
    assert server.client.delete(path).status_code == 204
    assert server.client.get(path).status_code == 404


def test_pages_come_with_a_policy_that_forbids_outside_requests(server):
    for path in ("/", "/docs", "/page/main.js", "/page/style.css", "/favicon.ico"):
        answer = server.client.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        outside = re.sub(r"http://www\.w3\.org/2000/svg", "", answer.text)
        assert not re.search(r"https?:|//[a-z]+\.[a-z]", outside)
    described = server.client.get("/openapi.json").json()["paths"]
    assert {"/v1/separate", "/v1/models", "/v1/jobs", "/healthz", "/metrics"} <= set(described)


def test_a_fault_names_the_form_field_and_no_flag(server, picture):
    clear = Image.new("RGBA", (40, 30), (10, 20, 30, 40))
    buffer = io.BytesIO()
    clear.save(buffer, "PNG")
    refused = server.separate(buffer.getvalue(), format="jpg")
    assert refused.status_code == 422
    wanted = "has transparency, which JPEG cannot hold; choose format png, tiff or webp"
    assert refused.json() == {"error": wanted, "field": "image"}
    wrong = server.separate(picture(), strength="3")
    assert wrong.status_code == 422
    assert wrong.json()["error"].startswith("strength: ")
    assert wrong.json()["field"] == "strength"
