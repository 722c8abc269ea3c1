"""Commands for beginners and editors: init, recipe, logs."""

import json
import re
import time
from pathlib import Path

import click

INIT = """\
# A recipe: photographs of people x prompts x seeds become images in the same poses. All keys: docs/recipes.md.
# Look first:  posemill submit {file} --dry-run        then:  posemill submit {file} --wait
name: {name}
sources: {sources}          # a folder, a glob, an s3:// prefix, or a .jsonl, .csv, .tsv or .parquet manifest
prompts:
  - "a {{who}} in a {{room}}"    # names in braces come from the matrix, or from a manifest's columns
matrix:
  who: [chef, dancer]
  room: [kitchen, garden]
seeds: 2                    # images for each source and prompt
detect:
  detector: {detector}   # how poses are found; docs/controls.md
generate:
  model: {model}      # {why}
"""


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=Path("recipe.yaml"))
@click.option("--sources", default="photos/", show_default=True, help="Where the photographs are.")
def init(file: Path, sources: str) -> None:
    """Write a commented recipe to FILE, with models that run with what is installed here."""
    from posemill.errors import BadInput
    from producer.recipes.recipe import parse_recipe, read_recipe
    from producer.recipes.yaml_values import read_yaml

    if file.exists():
        raise BadInput(f"{file} exists already; name another file, or remove it")
    detector, model, why = _models()
    name = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")[:64] or "recipe"
    shown, quoted = ascii(file.name)[1:-1], json.dumps(sources, ensure_ascii=False)
    text = INIT.format(file=shown, name=name, sources=quoted, detector=detector, model=model, why=why)
    if parse_recipe(read_recipe(read_yaml(text, where="--sources"))).sources != sources:
        raise BadInput(f"--sources {sources!a:.200} cannot be written into a recipe; use a plain path")
    file.write_text(text, encoding="utf-8")
    click.echo(f"Wrote {file}. Put photographs into {sources}, then: posemill submit {file} --dry-run")


def _models() -> tuple[str, str, str]:
    """Detector, model, and why this one."""
    from importlib.util import find_spec
    from shutil import which

    if find_spec("torch") is None:
        return "openpose", "sd15-openpose", "made by workers with a GPU; `embedded` draws small figures without one"
    if which("nvidia-smi"):
        return "openpose", "sd15-openpose", "Stable Diffusion 1.5 with its pose ControlNet"
    return "openpose-thin", "embedded", "small drawn figures, without a GPU or a download; on a GPU: sd15-openpose"


@click.group()
def recipe() -> None:
    """What editors want to know of recipes: `posemill recipe schema`."""


@recipe.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors.

    \b
    posemill recipe schema > recipe.schema.json
    # yaml-language-server: $schema=recipe.schema.json      (first line of a recipe)
    """
    from producer.recipes.recipe import Recipe

    found = Recipe.model_json_schema()
    click.echo(json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **found}, indent=2))


@click.command()
@click.argument("process", required=False)
@click.option("-n", "lines", type=click.IntRange(1), default=20, show_default=True, help="Lines of each.")
@click.option("--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
def logs(process: str | None, lines: int, follow: bool) -> None:
    """Show the last log lines of `posemill up`: of PROCESS (detect-0, generate-0, redis, storage, …), or of all."""
    from posemill.errors import NotFound
    from producer.cli.local_settings import services_folder

    files = sorted((services_folder() / "logs").glob("*.log"))
    wanted = [file for file in files if process in (None, file.stem)]
    if not wanted:
        there_are = ", ".join(file.stem for file in files)
        raise NotFound(
            f"no logs of {process!r} in {services_folder()}; there are {there_are}"
            if files
            else f"no logs in {services_folder()}: run `posemill up` here first, or name its folder with --dir"
        )
    for file in wanted:
        for line in _last_lines(file, lines):
            click.echo(f"{file.stem:12} {line}" if len(wanted) > 1 else line)
    if follow:
        _follow(wanted)


def _last_lines(file: Path, lines: int) -> list[str]:
    """The end of a log; no more than its last part is read."""
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - 1000 * lines))
        return log.read().decode("utf-8", "replace").splitlines()[-lines:]


def _follow(files: list[Path]) -> None:
    places = {file: file.stat().st_size for file in files}
    while True:
        for file, place in places.items():
            with file.open("rb") as log:
                log.seek(place if place <= file.stat().st_size else 0)
                for line in log.read().decode("utf-8", "replace").splitlines():
                    click.echo(f"{file.stem:12} {line}" if len(files) > 1 else line)
                places[file] = log.tell()
        time.sleep(0.5)


COMMANDS = (init, recipe, logs)
