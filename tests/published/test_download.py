"""Downloads from a local server: complete, interrupted, resumed, wrong, and impossible."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
import torch
from helpers.checkpoint_files import rosinality_checkpoint, small_generator, torch_bytes

from nada.checkpoint import load_generator
from nada.clip.loading import load_clip
from nada.errors import NadaError
from nada.files import locked
from nada.published import download as downloading
from nada.published.catalog import MIT, Published, PublishedClip
from nada.published.download import clip_file, download

DATA = torch_bytes(rosinality_checkpoint(small_generator()))
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(SimpleHTTPRequestHandler):
    """Handler that serves files with ranges, as the publishers do, and records requests in the class."""

    asked: list = []  # noqa: RUF012
    headers_seen: list = []  # noqa: RUF012
    ranges = True
    breaks_at = 0
    coding = ""
    endless = False

    def do_GET(self):
        path, start = self.translate_path(self.path), 0
        Server.headers_seen.append(dict(self.headers))
        try:
            data = open(path, "rb").read()  # noqa: SIM115
        except OSError:
            return self.send_error(404, "Not Found")
        asked = self.headers.get("Range") if self.ranges else None
        Server.asked.append(asked)
        if asked:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                return self.send_error(416, "Range Not Satisfiable")
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.coding:
            self.send_header("Content-Encoding", self.coding)
        if not self.endless:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.endless:
            with suppress(OSError):
                while True:
                    self.wfile.write(bytes(1 << 16))
        self.wfile.write(data[start : start + self.breaks_at] if self.breaks_at else data[start:])

    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder that a local server offers, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "dogs.pt").write_bytes(DATA)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(Server, "asked", [])
    monkeypatch.setattr(Server, "headers_seen", [])
    monkeypatch.setattr(downloading.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def model(served):
    return Published("dogs-16", 16, "dogs", f"{served[1]}/dogs.pt", MIT, 1, len(DATA), SHA256)


def record(path) -> dict:
    return json.loads(path.with_name(path.name + ".json").read_text())


def test_a_download_is_verified_recorded_and_loadable(tmp_path, model):
    seen = []
    path, notes = download(model, tmp_path / "models", lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "models" / "dogs-16.pt"
    assert path.read_bytes() == DATA
    assert notes == ["The SHA-256 is the known one."]
    assert seen[-1] == (len(DATA), len(DATA))
    assert load_generator(path).config.resolution == 16
    expected = {"name": "dogs-16", "url": model.url, "license": MIT, "size": len(DATA), "sha256": SHA256}
    assert record(path) == expected | {"notes": notes}
    assert sorted(p.name for p in path.parent.iterdir()) == ["dogs-16.pt", "dogs-16.pt.json"]


def test_what_is_there_is_not_downloaded_again(tmp_path, model):
    (tmp_path / "dogs-16.pt").write_bytes(b"mine")
    path, notes = download(model, tmp_path)
    assert path.read_bytes() == b"mine"
    assert "not downloaded again" in notes[0]
    assert Server.asked == []


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_is_resumed(tmp_path, model, monkeypatch, ranges):
    monkeypatch.setattr(Server, "ranges", ranges)
    (tmp_path / "dogs-16.pt.part").write_bytes(DATA[:1000])
    seen = []
    path, _ = download(model, tmp_path, lambda done, total: seen.append(done))
    assert path.read_bytes() == DATA
    assert Server.asked == (["bytes=1000-"] if ranges else [None])
    assert seen[-1] == len(DATA)


@pytest.mark.parametrize("kind", [Exception, BaseException])
def test_cancelling_keeps_what_arrived(tmp_path, model, kind):
    cancelled = type("Cancelled", (kind,), {})

    def cancel(done, total):
        raise cancelled

    with pytest.raises(cancelled):
        download(model, tmp_path, cancel)
    assert not (tmp_path / "dogs-16.pt").exists()
    part = tmp_path / "dogs-16.pt.part"
    assert 0 < part.stat().st_size <= len(DATA)
    assert download(model, tmp_path)[0].read_bytes() == DATA


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"sha256": "0" * 64}, "its SHA-256 is"),
        ({"sha256": "00...00"}, "its SHA-256 is"),
        ({"sha256": "", "size": None}, "it is a web page|web page saved"),
    ],
)
def test_a_file_that_is_not_the_expected_one_is_deleted(tmp_path, served, model, change, what):
    if not change["sha256"]:
        (served[0] / "dogs.pt").write_bytes(b"<!DOCTYPE html><html>please log in</html>")
    with pytest.raises(NadaError, match=what) as error:
        download(replace(model, **change), tmp_path / "models")
    assert model.url in str(error.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_shorter_file_than_announced_is_explained(tmp_path, served, model):
    (served[0] / "dogs.pt").write_bytes(DATA[:-1])
    with pytest.raises(NadaError, match=rf"has {len(DATA) - 1} bytes instead of {len(DATA)}"):
        download(model, tmp_path)
    assert list(tmp_path.glob("*dogs-16*")) == []
    (served[0] / "dogs.pt").write_bytes(DATA)
    assert download(model, tmp_path)[0].read_bytes() == DATA


def test_an_unknown_hash_is_recorded_and_holds_from_then_on(tmp_path, served, model):
    unknown = replace(model, sha256="", size=None)
    path, notes = download(unknown, tmp_path)
    assert "No SHA-256 was known" in notes[0]
    assert record(path)["sha256"] == SHA256
    path.unlink()
    (served[0] / "dogs.pt").write_bytes(torch_bytes(rosinality_checkpoint(small_generator(seed=2))))
    with pytest.raises(NadaError, match="not the file downloaded before"):
        download(unknown, tmp_path)


def test_the_ends_of_a_hash_count(tmp_path, model):
    _, notes = download(replace(model, sha256=f"{SHA256[:8]}...{SHA256[-4:]}"), tmp_path)
    assert "Only the ends" in notes[0]


def test_absent_files_and_servers_are_explained(tmp_path, model, monkeypatch):
    with pytest.raises(NadaError, match="404") as error:
        download(replace(model, url=model.url + "x"), tmp_path)
    assert "Check the network" in str(error.value)
    with pytest.raises(NadaError, match="could not be downloaded") as error:
        download(replace(model, url="http://127.0.0.1:9/dogs.pt"), tmp_path)
    assert "save it as" in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.glob("*.p*")) == []  # nothing arrived, so nothing is saved


def test_a_part_that_is_longer_than_the_file_is_thrown_away(tmp_path, model):
    (tmp_path / "dogs-16.pt.part").write_bytes(DATA + b"more")
    assert download(model, tmp_path)[0].read_bytes() == DATA
    unknown = replace(model, size=None, url=model.url.replace("dogs.pt", "./dogs.pt"))
    (tmp_path / "dogs-16.pt").rename(tmp_path / "dogs-16.pt.part")
    assert download(unknown, tmp_path)[0].read_bytes() == DATA  # the file was complete; the server has no more
    (tmp_path / "dogs-16.pt").rename(tmp_path / "dogs-16.pt.part")
    with open(tmp_path / "dogs-16.pt.part", "ab") as file:
        file.write(b"more")
    assert download(unknown, tmp_path)[0].read_bytes() == DATA


def test_connections_that_break_are_resumed_as_long_as_something_arrives(tmp_path, model, monkeypatch):
    monkeypatch.setattr(Server, "breaks_at", 10_000)
    assert download(model, tmp_path)[0].read_bytes() == DATA
    starts = [0, *(int(asked.removeprefix("bytes=").rstrip("-")) for asked in Server.asked[1:])]
    assert len(starts) > downloading.TRIES
    assert all(0 < after - before <= 10_000 for before, after in pairwise(starts))


def test_only_the_plain_bytes_are_asked_for_and_no_token_is_sent_elsewhere(tmp_path, model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    download(model, tmp_path)
    (sent,) = Server.headers_seen
    assert {name.lower(): value for name, value in sent.items()}["accept-encoding"] == "identity"
    assert "secret" not in str(sent)


def test_compressed_answers_are_not_unpacked(tmp_path, served, model, monkeypatch):
    monkeypatch.setattr(Server, "coding", "gzip")
    for size in (model.size, None):
        with pytest.raises(NadaError, match="compressed as gzip"):
            download(replace(model, size=size), tmp_path)
    assert list(tmp_path.glob("*dogs-16*")) == []


@pytest.mark.parametrize("known", [True, False])
def test_an_endless_answer_ends(tmp_path, model, monkeypatch, known):
    monkeypatch.setattr(Server, "endless", True)
    with pytest.raises(NadaError, match="sends more than"):
        download(model if known else replace(model, size=None), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.glob("*dogs-16*")) == 0
    monkeypatch.setattr(Server, "endless", False)
    assert download(model, tmp_path)[0].read_bytes() == DATA


def test_an_announced_size_that_cannot_be_is_refused_before_anything_is_written(tmp_path, served, model):
    (served[0] / "dogs.pt").write_bytes(bytes(2_000_000))
    with pytest.raises(NadaError, match="2000000 bytes instead of at most 1500000"):
        download(replace(model, size=None, sha256=""), tmp_path)
    assert list(tmp_path.glob("*dogs-16*")) == []


def test_six_at_once_download_once(tmp_path, model):
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: download(model, tmp_path / "models"), range(6)))
    assert {path.read_bytes() for path, _ in results} == {DATA}
    assert len(Server.asked) == 1
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["dogs-16.pt", "dogs-16.pt.json"]


def test_who_waits_can_cancel(tmp_path, model):
    """While another program downloads, progress is reported, so that callers can cancel by raising there."""

    class Cancelled(Exception):
        pass

    def cancel(done, total):
        assert (done, total) == (7, len(DATA))
        raise Cancelled

    (tmp_path / "dogs-16.pt.part").write_bytes(DATA[:7])
    with locked(tmp_path / ".dogs-16.pt.lock"), pytest.raises(Cancelled):
        download(model, tmp_path, cancel)
    assert Server.asked == []


def test_a_full_disk_is_noticed_before(tmp_path, model, monkeypatch):
    usage = type(downloading.shutil.disk_usage(tmp_path))(10, 10, 1000)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(NadaError, match=r"needs .* MB, and .* left"):
        download(model, tmp_path)
    assert Server.asked == []


@pytest.fixture
def small_clip(served, monkeypatch, tmp_path):
    """A small published CLIP from a local server instead of the hub, which no other program has downloaded."""
    from safetensors.torch import save_file

    for module in ("constants", "file_download"):  # old versions read their own copy
        monkeypatch.setattr(f"huggingface_hub.{module}.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served[1])
    path = served[0] / "someone" / "clip" / "resolve" / "main" / "open_clip_model.safetensors"
    path.parent.mkdir(parents=True)
    save_file({"visual.conv1.weight": torch.zeros(4, 3, 2, 2), "logit_scale": torch.zeros(())}, path)
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    clip = PublishedClip("RN50", "RN50-quickgelu", "someone/clip", "main", 1, len(data), sha256)
    monkeypatch.setattr("nada.clip.loading.PUBLISHED_CLIPS", (clip,))
    return clip


def test_clip_weights_are_downloaded_once_verified_and_used(tmp_path, small_clip, monkeypatch):
    seen, opened = [], []

    def create_model(name, **options):
        opened.append(name)
        return torch.nn.Linear(2, 2)  # not weights of that network

    monkeypatch.setattr("open_clip.create_model", create_model)
    with pytest.raises(NadaError, match="cannot be read"):
        load_clip("RN50", folder=tmp_path / "clips", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (small_clip.size, small_clip.size)
    path = tmp_path / "clips" / "RN50-quickgelu.openai.safetensors"
    assert opened == ["RN50-quickgelu"]
    assert record(path)["sha256"] == small_clip.sha256
    asked = len(Server.asked)
    assert clip_file(small_clip, tmp_path / "clips") == path
    assert len(Server.asked) == asked


def test_clip_weights_that_another_program_fetched_are_used(tmp_path, small_clip):
    snapshot = tmp_path / "hub" / "models--someone--clip" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "open_clip_model.safetensors").write_bytes(b"theirs")
    (tmp_path / "hub" / "models--someone--clip" / "refs").mkdir()
    (tmp_path / "hub" / "models--someone--clip" / "refs" / "main").write_text("0" * 40)
    assert clip_file(small_clip, tmp_path / "clips").read_bytes() == b"theirs"
    assert Server.asked == []


def test_a_generator_in_place_of_clip_weights_is_refused(tmp_path, served, small_clip):
    path = served[0] / "someone" / "clip" / "resolve" / "main" / "open_clip_model.safetensors"
    path.write_bytes(DATA)
    with pytest.raises(NadaError, match="not the expected file"):
        clip_file(replace(small_clip, size=None, sha256=""), tmp_path / "clips")
