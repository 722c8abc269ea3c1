"""From a hub on loopback: what is fetched, once and to the end, whatever breaks; and what is said when it cannot be."""

import hashlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import constants, hf_hub_download

from posemill.errors import HubAway, RunFault
from posemill.hub.fetching import fetch
from posemill.hub.listings import look_up
from posemill.hub.needs import Layout, Need

MODEL = "owner/net"
WEIGHTS = "diffusion_pytorch_model.safetensors"
FILES = {
    "config.json": b"{}",
    "README.md": b"read me",
    WEIGHTS: os.urandom(900_000),
    "diffusion_pytorch_model.fp16.safetensors": os.urandom(450_000),
    "diffusion_pytorch_model.bin": os.urandom(900_000),
}
PRIVATE = {"readers": ("hf_reader",)}
GATED = {"readers": ("hf_reader",), "gated": True}
NEED = Need(model=MODEL, revision=None, layout=Layout.NETWORK)


@pytest.fixture
def commit(hub) -> str:
    return hub.add(MODEL, FILES)


def offline(monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_only_what_is_loaded_is_fetched_and_only_once(hub, commit):
    first = fetch(NEED, half=False)
    assert first.commit == commit == first.folder.name
    assert (first.folder / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    assert fetch(NEED, half=False) == first
    assert hub.downloads(MODEL) == ["config.json", WEIGHTS]


def test_half_precision_fetches_half_the_bytes(hub, commit):
    found = fetch(NEED, half=True)
    assert found.choice.variant == "fp16"
    assert hub.downloads(MODEL) == ["config.json", "diffusion_pytorch_model.fp16.safetensors"]


def test_a_base_is_fetched_by_its_index(hub):
    index = {"_class_name": "P", "unet": ["diffusers", "U"], "safety_checker": ["x", "Y"]}
    files = {"model_index.json": json.dumps(index).encode(), "sd.ckpt": b"old", "unet/config.json": b"{}",
             f"unet/{WEIGHTS}": b"new", "safety_checker/model.safetensors": b"no"}  # fmt: skip
    hub.add("owner/base", files)
    fetch(Need(model="owner/base", revision=None, layout=Layout.PIPELINE, without=("safety_checker",)), half=False)
    assert hub.downloads("owner/base") == ["model_index.json", "unet/config.json", f"unet/{WEIGHTS}"]


def test_a_pinned_commit_is_fetched_though_the_repository_went_on(hub, commit):
    hub.add(MODEL, FILES | {"config.json": b'{"new": 1}'})
    pinned = Need(model=MODEL, revision=commit, layout=Layout.NETWORK)
    assert (fetch(pinned, half=False).folder / "config.json").read_bytes() == b"{}"
    assert (fetch(NEED, half=False).folder / "config.json").read_bytes() == b'{"new": 1}'


def test_a_download_that_breaks_off_again_and_again_goes_on_where_it_was(hub, commit):
    hub.break_off_after, hub.break_offs = 200_000, 4
    assert (fetch(NEED, half=False).folder / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    sent = sum(request.sent_bytes for request in hub.requests if "/blobs/" in request.path)
    assert sent < len(FILES[WEIGHTS]) + 5 * (1 << 16) + 5 * (1 << 14)
    assert sum(bool(request.range) for request in hub.requests if "/blobs/" in request.path) == 4


def test_what_one_process_fetched_before_it_ended_is_not_fetched_again(hub, commit, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    hub.break_off_after, hub.break_offs = 600_000, 1
    handlers = hub._store.RequestHandlerClass
    seen = handlers._blob

    def refuse_later(handler, digest):
        seen(handler, digest)
        hub.answers_busy = True  # after the first piece nothing comes any more

    monkeypatch.setattr(handlers, "_blob", refuse_later)
    with pytest.raises(HubAway):
        fetch(NEED, half=False)
    monkeypatch.setattr(handlers, "_blob", seen)
    hub.answers_busy = False
    assert (fetch(NEED, half=False).folder / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    ranges = [request.range for request in hub.requests if "/blobs/" in request.path]
    assert ranges[0] == ""
    assert int(ranges[-1].removeprefix("bytes=").rstrip("-")) >= 600_000 - (1 << 16)


def test_what_arrives_otherwise_than_it_is_there_is_not_kept(hub, commit):
    fetched = fetch(Need(model=MODEL, revision=None, layout=Layout.FILES, files=("config.json",)), half=False)
    blobs = fetched.folder.parents[1] / "blobs"
    (blobs / f"{hashlib.sha256(FILES[WEIGHTS]).hexdigest()}.incomplete").write_bytes(b"x" * 300_000)
    assert (fetch(NEED, half=False).folder / WEIGHTS).read_bytes() == FILES[WEIGHTS]


def test_several_that_begin_together_fetch_once_and_all_are_kept_awake(hub, commit):
    hub.bytes_a_second = 900_000
    looks = dict.fromkeys(range(3), 0)

    def one(number: int):
        def watch(_):
            looks[number] += 1

        return fetch(NEED, half=False, watch=watch)

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(one, range(3)))
    assert len({each.folder for each in found}) == 1
    assert hub.downloads(MODEL).count(WEIGHTS) == 1
    assert all(times > 5 for times in looks.values())


def test_progress_is_told_in_bytes(hub, commit):
    hub.bytes_a_second = 900_000
    told = []
    fetch(NEED, half=False, watch=told.append)
    known = [progress for progress in told if progress.total_bytes]
    assert {progress.total_bytes for progress in known} == {len(FILES[WEIGHTS]) + 2}
    assert 0 < known[len(known) // 2].done_bytes < len(FILES[WEIGHTS])
    assert str(known[-1]).startswith(f"{MODEL}: ")


def test_who_waits_may_leave_and_the_download_goes_on(hub, commit):
    hub.hangs.set()

    def leave(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(NEED, half=False, watch=leave)
    hub.hangs.clear()
    deadline = time.monotonic() + 20
    while WEIGHTS not in hub.downloads(MODEL) or any(thread.name == "hub" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (fetch(NEED, half=False).folder / WEIGHTS).is_file()
    assert hub.downloads(MODEL).count(WEIGHTS) == 1


@pytest.mark.parametrize(
    ("token", "how", "words"),
    [
        pytest.param(None, PRIVATE, "check its name; if it is private, set HF_TOKEN", id="private"),
        pytest.param("hf_stranger", PRIVATE, "HF_TOKEN may not read it", id="another's"),
        pytest.param(None, GATED, "is gated: accept .* and set HF_TOKEN", id="gated"),
        pytest.param("hf_stranger", GATED, "account of HF_TOKEN has no access", id="gated, another account"),
        pytest.param("hf_wrong", {}, "refuses the token .HF_TOKEN. for owner/net: it is wrong", id="wrong token"),
    ],
)  # fmt: skip
def test_a_token_that_is_wanted_wrong_or_missing_is_said(hub, commit, monkeypatch, token, how, words):
    hub.add(MODEL, FILES, **how)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(RunFault, match=words):
        fetch(NEED, half=False)


def test_with_the_right_token_it_comes_and_the_token_stays_with_the_hub(hub, commit, monkeypatch):
    hub.add(MODEL, FILES, readers=("hf_reader",))
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert (fetch(NEED, half=False).folder / WEIGHTS).is_file()
    assert {request.authorized for request in hub.requests if not request.path.startswith("/blobs/")} == {True}
    assert {request.authorized for request in hub.requests if request.path.startswith("/blobs/")} == {False}


def test_a_missing_model_and_a_missing_revision_are_told_apart(hub, commit):
    with pytest.raises(RunFault, match="owner/other is not on the Hub"):
        look_up("owner/other", None)
    with pytest.raises(RunFault, match="owner/net has no revision v9"):
        look_up(MODEL, "v9")


def test_a_hub_that_is_busy_or_gone_is_away_and_no_fault(hub, commit, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.answers_busy = True
    with pytest.raises(HubAway, match="owner/net"):
        fetch(NEED, half=False)
    hub.answers_busy = False
    fetched = fetch(NEED, half=False)
    hub.close()
    assert fetch(NEED, half=False) == fetched  # all of it is here
    with pytest.raises(HubAway):
        fetch(Need(model="owner/else", revision=None, layout=Layout.NETWORK), half=False)


def test_offline_the_cache_is_enough_and_what_it_lacks_is_a_fault_that_says_how_to_fetch_it(hub, commit, monkeypatch):
    fetched = fetch(NEED, half=True)
    asked = len(hub.requests)
    offline(monkeypatch)
    assert fetch(NEED, half=True) == fetched
    assert fetch(NEED, half=False).choice.variant == "fp16"  # what there is
    assert len(hub.requests) == asked
    with pytest.raises(
        RunFault, match=r"owner/else is not.*HF_HUB_OFFLINE is set: fetch it with `posemill models pull RECIPE`"
    ):
        fetch(Need(model="owner/else", revision=None, layout=Layout.NETWORK), half=False)


def test_offline_what_others_put_into_the_cache_serves_as_well(hub, commit, monkeypatch):
    for name in ("config.json", WEIGHTS):
        hf_hub_download(MODEL, name)
    offline(monkeypatch)
    assert fetch(NEED, half=False).commit == commit
