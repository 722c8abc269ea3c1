"""A first recipe, the schema for editors, and the logs of `posemill up`."""

import json
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as property_settings
from hypothesis import strategies as st

from posemill.errors import BadInput, NotFound, PosemillError
from producer.cli.main import posemill
from producer.recipes.recipe import Recipe, parse_recipe, read_recipe
from producer.recipes.yaml_values import read_yaml
from tests.small_pictures import picture

ROOT = Path(__file__).parents[3]


def run(*words: str) -> Any:
    result = CliRunner().invoke(posemill, list(words))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("installed", ["torch alone", "torch and a GPU", "light"])
def test_the_first_recipe_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None if installed == "light" else object())
    monkeypatch.setattr("shutil.which", lambda _: "/bin/nvidia-smi" if installed == "torch and a GPU" else None)
    assert "posemill submit chefs.yaml" in run("init", "chefs.yaml", "--sources", "my photos/").output
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my photos").mkdir()
    (tmp_path / "my photos" / "a.png").write_bytes(picture())
    assert "1 sources, 8 items" in run("submit", "chefs.yaml", "--dry-run").output
    assert ("embedded" in (tmp_path / "chefs.yaml").read_text().partition("model:")[2][:12]) == (
        installed == "torch alone"
    )


@property_settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=60), st.text())
def test_whatever_file_and_folder_are_called_a_recipe_that_is_written_can_be_read(file: str, sources: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{file}.yaml"
        try:
            run("init", "--sources", sources, "--", str(path))
        except (OSError, ValueError, PosemillError):  # a name that no file can have; sources that no recipe can name
            assert not any(Path(folder).iterdir())
        else:
            assert parse_recipe(read_recipe(path)).sources == sources


@pytest.mark.parametrize("sources", ["s3://bucket/in", "fotos/ä b", "a: b # c", "*.jpg", "yes", "1e3", '"', "{x}"])
def test_usual_and_odd_folders_are_written_as_they_are(tmp_path: Path, sources: str) -> None:
    run("init", "--sources", sources)
    assert parse_recipe(read_recipe(tmp_path / "recipe.yaml")).sources == sources


def test_a_recipe_that_exists_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("mine")
    with pytest.raises(BadInput, match=r"recipe\.yaml exists already"):
        run("init")
    assert (tmp_path / "recipe.yaml").read_text() == "mine"


@pytest.mark.parametrize("recipe", sorted((ROOT / "producer" / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_schema_takes_every_example_and_refuses_a_key_that_there_is_not(recipe: Path) -> None:
    schema = json.loads(run("recipe", "schema").output)
    values = read_yaml(recipe.read_text(), where=str(recipe))
    jsonschema.validate(values, schema)
    for broken in ({**values, "promts": ["p"]}, {**values, "generate": {**values["generate"], "modle": "m"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)
    assert set(schema["properties"]) == set(Recipe.model_fields)


def test_logs_are_the_last_lines_of_each_process(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="posemill up"):
        run("logs")
    (folder := tmp_path / ".posemill" / "logs").mkdir(parents=True)
    (folder / "detect-0.log").write_text("".join(f"line {n}\n" for n in range(100)))
    (folder / "redis.log").write_bytes(b"\xff ready\n")
    assert run("logs", "detect-0", "-n", "2").output == "line 98\nline 99\n"
    assert run("logs", "-n", "1").output == "detect-0     line 99\nredis        \ufffd ready\n"
    with pytest.raises(NotFound, match="there are detect-0, redis"):
        run("logs", "detect-7")
