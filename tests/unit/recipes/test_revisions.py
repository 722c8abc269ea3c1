"""What a model is pinned to."""

import sys
from pathlib import Path

import pytest

from posemill.catalogue.models import SHIPPED, local_path
from posemill.errors import RecipeError
from posemill.hub.fetching import fetch
from posemill.hub.needs import Layout, Need
from producer.recipes.revisions import folder_digest, pinned


@pytest.mark.parametrize("model", SHIPPED)
def test_the_digest_of_a_shipped_model_is_that_of_its_folder(model):
    assert pinned(model, None) == SHIPPED[model] == folder_digest(Path(local_path(model)))


def test_a_model_that_is_not_shipped_is_refused_with_those_that_are():
    with pytest.raises(RecipeError, match=r"there are embedded:embedded, .*openpose_thin"):
        pinned("embedded:nothing", None)


def test_without_the_hub_s_client_a_model_stays_as_it_is_named_and_the_mend_is_said(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert pinned("owner/name", "main") == "main"
    assert "pip install 'posemill[hub]'" in caplog.text


def test_a_commit_is_looked_up_at_the_hub(hub):
    first = hub.add("owner/name", {"config.json": b"{}"})
    hub.repositories["owner/name"].tags["v1"] = first
    second = hub.add("owner/name", {"config.json": b"{ }"})
    assert (pinned("owner/name", None), pinned("owner/name", "v1")) == (second, first)


def test_a_commit_that_is_given_is_not_looked_up(hub):
    assert pinned("owner/name", "a" * 40) == "a" * 40
    assert hub.requests == []


@pytest.mark.parametrize(
    ("model", "revision", "words"),
    [
        ("owner/nothing", None, "owner/nothing is not on the Hub, or is private"),
        ("owner/name", "v9", "owner/name has no revision v9"),
    ],
)
def test_what_the_hub_does_not_have_is_the_recipe_s_mistake(hub, model, revision, words):
    hub.add("owner/name", {"config.json": b"{}"})
    with pytest.raises(RecipeError, match=rf"{words}.*; or give the recipe its `revision`"):
        pinned(model, revision)


def test_where_nobody_answers_the_cache_s_commit_counts_and_without_one_the_first_worker_s(hub, caplog):
    commit = hub.add("owner/name", {"config.json": b"{}"})
    fetch(Need(model="owner/name", revision=None, layout=Layout.FILES, files=("config.json",)), half=False)
    hub.close()
    assert pinned("owner/name", None) == commit
    assert f"{commit[:12]} is taken, which the cache holds" in caplog.text
    assert pinned("owner/other", None) is None
    assert "the first worker's is taken for the run" in caplog.text


def test_offline_a_commit_is_taken_from_the_cache_alone(hub, monkeypatch):
    commit = hub.add("owner/name", {"config.json": b"{}"})
    fetch(Need(model="owner/name", revision=None, layout=Layout.FILES, files=("config.json",)), half=False)
    asked = len(hub.requests)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert (pinned("owner/name", None), pinned("owner/other", None)) == (commit, None)
    assert len(hub.requests) == asked
