"""What a model is pinned to."""

import sys
from pathlib import Path

import pytest

from posemill.catalogue.models import SHIPPED, local_path
from posemill.errors import RecipeError
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
