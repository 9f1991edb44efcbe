import hashlib
import http.server
import json
import re
import threading
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from tiny_diffrs import base_scheduler, make_pipeline, tiny_unet
from transformers import CLIPTextConfig, CLIPTextModel

from dereflect.catalog import load_method
from dereflect.downloads import fetch_from_hub
from dereflect.errors import InputError, ModelError
from dereflect.methods.diffrs import fetch
from dereflect.methods.diffrs.method import load_pipeline
from dereflect.methods.diffrs.official import (
    BASE,
    FUSION_FILE,
    RELEASE,
    SYNTHESIS_FILE,
    UNET_FILE,
    fusion_state,
    part_of,
    synthesis_state,
)
from dereflect.methods.diffrs.synthesis import LatentSynthesis
from dereflect.weights import read_checkpoint


def published(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our synthesis network's state in the release's layout, where shared layers have two names."""
    doubled = {}
    for key, tensor in state.items():
        name = re.sub(r"^intro\.", "intro.seq.0.", re.sub(r"^tail\.", "tail.0.", key))
        doubled |= {name.replace(".seq.", ".seq_l."): tensor, name.replace(".seq.", ".seq_r."): tensor}
    return doubled


def write_release(folder: Path) -> Path:
    """A release of random weights at full width where the file's layout fixes it, tiny where it does not."""
    from dereflect.methods.diffrs.fusion import FidelityFusion

    torch.manual_seed(3)
    parts = {
        UNET_FILE: tiny_unet().state_dict(),
        SYNTHESIS_FILE: published(LatentSynthesis().state_dict()),
        FUSION_FILE: FidelityFusion.for_autoencoder((8, 16, 16, 16), groups=4).blocks.state_dict(),
    }
    for name, state in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, folder / name)
    return folder


def write_base(folder: Path) -> Path:
    """A base model with SD's layout, widths of the tiny pipeline, and a tokenizer that knows little."""
    pipeline = make_pipeline()
    base_scheduler().save_pretrained(folder / "scheduler")
    pipeline.vae.save_pretrained(folder / "vae")
    tiny_unet(in_channels=4, classes=None).save_pretrained(folder / "unet")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()  # its weights are not needed
    config = CLIPTextConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=7,
        bos_token_id=62,
        eos_token_id=63,
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    write_tokenizer(folder / "tokenizer")
    return folder


def write_tokenizer(folder: Path):
    """Byte-pair merges that make one token of each prompt, and SD 2's padding with token 0."""
    folder.mkdir()
    vocabulary, merges = ["!"], []
    letters = sorted(set("transmissionreflection"))
    vocabulary += letters + [letter + "</w>" for letter in letters]
    for word in ("transmission", "reflection"):
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pieces[:2] = [merge(pieces[0], pieces[1], merges, vocabulary)]
    vocabulary = list(dict.fromkeys(vocabulary))
    ids = {token: index for index, token in enumerate(vocabulary)}
    ids |= {"<|startoftext|>": 62, "<|endoftext|>": 63}
    assert len(vocabulary) <= 62
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "!",
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    settings = special | {"model_max_length": 7, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def merge(first: str, second: str, merges: list[str], vocabulary: list[str]) -> str:
    if f"{first} {second}" not in merges:
        merges.append(f"{first} {second}")
    vocabulary.append(first + second)
    return first + second


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    return {"release": write_release(folder / "release"), "base": write_base(folder / "base")}


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves folders as the hub does, with its checksums; cuts and corrupts on demand."""

    folders: dict[str, Path] = {}  # noqa: RUF012
    cut_at: int | None = None
    corrupt = False
    requests: list[tuple[str, str | None]] = []  # noqa: RUF012

    def _content(self) -> bytes | None:
        for repository, folder in self.folders.items():
            prefix = f"/{repository}/resolve/main/"
            if self.path.startswith(prefix) and (folder / self.path[len(prefix) :]).is_file():
                return (folder / self.path[len(prefix) :]).read_bytes()
        return None

    def do_HEAD(self):
        self.answer(head=True)

    def do_GET(self):
        Hub.requests.append((self.path, self.headers.get("Range")))
        self.answer(head=False)

    def answer(self, head: bool):
        content = self._content()
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range") or "bytes=0-")[1])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", "0" * 40)
        large = self.path.endswith((".bin", ".safetensors"))
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest() if large else git}"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if head:
            return
        body = content[start:]
        if Hub.corrupt:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.wfile.write(body if Hub.cut_at is None else body[: Hub.cut_at])

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(sources, monkeypatch):
    monkeypatch.setattr(Hub, "folders", {RELEASE: sources["release"], BASE: sources["base"]})
    monkeypatch.setattr(Hub, "cut_at", None)
    monkeypatch.setattr(Hub, "corrupt", False)
    monkeypatch.setattr(Hub, "requests", [])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(method):
    blended = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    return method(blended, generator=torch.Generator().manual_seed(1))


def test_local_folders_are_converted_once_and_loaded_by_name(sources, cache):
    words = []
    folder = fetch.download(False, {name: str(path) for name, path in sources.items()}, words.append)
    assert folder == cache / "diffrs"
    assert not [path for path in cache.rglob("*") if path.suffix in {".bin", ".part"}]
    pipeline = load_pipeline(folder)
    stored = torch.load(sources["release"] / UNET_FILE, weights_only=True)
    assert all(torch.equal(tensor, stored[key]) for key, tensor in pipeline.unet.state_dict().items())
    assert sum(parameter.numel() for parameter in pipeline.synthesis.parameters()) == 310_036
    method, name = load_method("diffrs", {"steps": "2", "resolution": "64"})
    assert name == "diffrs"
    assert run(method)[0].shape == (1, 3, 24, 40)


def test_prompts_are_the_text_encoders_last_state_padded_as_the_tokenizer_says(sources, cache):
    pipeline = load_pipeline(fetch.download(False, {k: str(v) for k, v in sources.items()}, lambda _: None))
    encoder = CLIPTextModel.from_pretrained(sources["base"] / "text_encoder").eval()
    vocabulary = json.loads((sources["base"] / "tokenizer" / "vocab.json").read_text())
    for word, stored in (
        ("transmission</w>", pipeline.prompts.transmission),
        ("reflection</w>", pipeline.prompts.reflection),
    ):
        ids = torch.tensor([[62, vocabulary[word], 63, 0, 0, 0, 0]])
        with torch.no_grad():
            assert torch.allclose(encoder(ids)[0], stored, atol=1e-6)


def test_nothing_is_fetched_unasked(cache, hub):
    for ask in (lambda: load_method("diffrs"), lambda: fetch.download(False, {}, print, endpoint=hub)):
        with pytest.raises(ModelError, match=rf"5\.4 GB.*{RELEASE}.*licence.*{BASE}.*RAIL.*yes"):
            ask()
    assert not Hub.requests
    assert not cache.exists()


def test_download_on_the_users_word(cache, hub, sources):
    seen = {}
    folder = fetch.download(
        True, {}, lambda _: None, lambda name, done, total: seen.update({name: (done, total)}), endpoint=hub
    )
    assert set(seen) == {*fetch.RELEASE_FILES, *fetch.BASE_FILES}
    assert all(done == total for done, total in seen.values())
    assert (folder / "model_index.json").is_file()
    assert not (cache / "diffrs.download").exists()


def test_a_cut_download_goes_on_where_it_was_cut(cache, hub, sources, tmp_path):
    Hub.cut_at = 1 << 18
    size = (sources["release"] / SYNTHESIS_FILE).stat().st_size
    path = fetch_from_hub(RELEASE, SYNTHESIS_FILE, tmp_path, endpoint=hub, patience=0)
    assert path.read_bytes() == (sources["release"] / SYNTHESIS_FILE).read_bytes()
    starts = [int((given or "bytes=0-").split("=")[1][:-1]) for _, given in Hub.requests]
    assert starts == list(range(0, size, 1 << 18))


def test_a_later_call_goes_on_with_what_an_earlier_one_brought(hub, sources, tmp_path, monkeypatch):
    whole = sources["release"] / SYNTHESIS_FILE

    def stop(name, done, total):
        raise KeyboardInterrupt

    monkeypatch.setattr(Hub, "cut_at", 1 << 18)
    with pytest.raises(KeyboardInterrupt):
        fetch_from_hub(RELEASE, SYNTHESIS_FILE, tmp_path, endpoint=hub, report=stop)
    (part,) = tmp_path.rglob("*.part")
    had = part.stat().st_size
    assert had > 0
    monkeypatch.setattr(Hub, "cut_at", None)
    Hub.requests.clear()
    assert fetch_from_hub(RELEASE, SYNTHESIS_FILE, tmp_path, endpoint=hub).read_bytes() == whole.read_bytes()
    assert [given for _, given in Hub.requests] == [f"bytes={had}-"]
    Hub.requests.clear()
    fetch_from_hub(RELEASE, SYNTHESIS_FILE, tmp_path, endpoint=hub)
    assert not Hub.requests  # the right file is there


def test_a_connection_that_brings_nothing_gives_up_and_says_how_far_it_was(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(Hub, "cut_at", 0)
    with pytest.raises(ModelError, match=r"cut off after 0 of .* again to go on"):
        fetch_from_hub(RELEASE, SYNTHESIS_FILE, tmp_path, endpoint=hub, patience=0)


def test_a_wrong_checksum_is_refused_and_removed(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(Hub, "corrupt", True)
    for name in (SYNTHESIS_FILE, "tokenizer/vocab.json"):
        with pytest.raises(ModelError, match="wrong checksum"):
            fetch_from_hub(RELEASE if name == SYNTHESIS_FILE else BASE, name, tmp_path, endpoint=hub)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_that_is_not_on_the_hub_is_named(hub, tmp_path):
    with pytest.raises(ModelError, match=r"nothing\.bin: the hub gave no answer"):
        fetch_from_hub(RELEASE, "nothing.bin", tmp_path, endpoint=hub)


def test_offline_is_respected(cache, hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        fetch.download(True, {}, lambda _: None, endpoint=hub)
    assert not Hub.requests


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "twin"])
def test_wrong_keys_are_named(sources, cache, tmp_path, change):
    release = write_release(tmp_path / "release")
    name = SYNTHESIS_FILE if change == "twin" else UNET_FILE
    state = torch.load(release / name, weights_only=True)
    if change == "missing":
        del state["time_embedding.linear_1.bias"]
    elif change == "extra":
        state["surplus.weight"] = torch.zeros(1)
    elif change == "shape":
        state["time_embedding.linear_1.bias"] = torch.zeros(3)
    else:
        state["intro.seq_r.0.bias"] = state["intro.seq_r.0.bias"] + 1
    torch.save(state, release / name)
    words = {"extra": "surplus", "twin": "twin differ"}.get(change, "linear_1.bias")
    with pytest.raises(ModelError, match=words):
        fetch.convert(release, sources["base"], cache / "diffrs")
    assert not (cache / "diffrs").exists()


def test_another_base_model_is_refused(sources, cache, tmp_path):
    base = write_base(tmp_path / "base")
    scheduler = json.loads((base / "scheduler/scheduler_config.json").read_text())
    (base / "scheduler/scheduler_config.json").write_text(
        json.dumps(scheduler | {"prediction_type": "epsilon"})
    )
    with pytest.raises(ModelError, match=r"epsilon.*Stable Diffusion 2\.1"):
        fetch.convert(sources["release"], base, cache / "diffrs")


@pytest.mark.parametrize(
    ("given", "words"), [({"other": "."}, "release=FOLDER"), ({"base": "/no/such"}, "no such folder")]
)
def test_wrong_sources_are_refused(cache, given, words):
    with pytest.raises(InputError, match=words):
        fetch.download(True, given, lambda _: None)


def test_a_missing_file_of_a_local_folder_is_named(sources, cache, tmp_path):
    with pytest.raises(InputError, match=r"iter_016000.*no such file"):
        fetch.convert(tmp_path, sources["base"], cache / "diffrs")


def test_a_single_file_of_the_release_says_how_to_bring_the_parts_together(sources):
    for name, part in ((UNET_FILE, "unet"), (SYNTHESIS_FILE, "synthesis")):
        assert part_of(torch.load(sources["release"] / name, weights_only=True)) == part
        with pytest.raises(ModelError, match=f"is the {part} part of DiffRS alone.*models download diffrs"):
            load_method(sources["release"] / name)
    assert part_of({"conv_in.weight": torch.zeros(1)}) is None


def test_fusion_blocks_may_be_one_state_or_a_list_of_states(sources, tmp_path):
    flat = torch.load(sources["release"] / FUSION_FILE, weights_only=True)
    blocks = [
        {key.removeprefix(f"{n}."): tensor for key, tensor in flat.items() if key.startswith(f"{n}.")}
        for n in range(3)
    ]
    torch.save(blocks, tmp_path / "fuse_blocks.bin")
    listed = read_checkpoint(tmp_path / "fuse_blocks.bin")
    assert part_of(listed) == part_of(flat) == "fusion"
    wanted, found = fusion_state(flat), fusion_state(listed)
    assert wanted.keys() == found.keys() == {f"blocks.{key}" for key in flat}
    assert all(torch.equal(found[key], tensor) for key, tensor in wanted.items())


def test_both_names_of_a_shared_layer_must_be_there():
    state = published(LatentSynthesis().state_dict())
    assert len(state) == 150
    assert sum(tensor.numel() for tensor in state.values()) == 345_508
    del state["intro.seq_r.0.bias"]
    with pytest.raises(ModelError, match=r"intro\.seq_r\.0\.bias is missing"):
        synthesis_state(state)


def test_another_pipelines_folder_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(ModelError, match="is a StableDiffusionPipeline"):
        load_method(tmp_path)
    (tmp_path / "model_index.json").write_text("no json")
    with pytest.raises(ModelError, match="not a readable pipeline index"):
        load_method(tmp_path)


def test_a_damaged_part_is_named(tmp_path):
    make_pipeline().save_pretrained(tmp_path)
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_method(tmp_path)
