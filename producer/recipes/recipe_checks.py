"""Mistakes that are a recipe's and not a row's: one error, before anything is written."""

import codecs
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from mimetypes import guess_type
from pathlib import Path

from posemill.catalogue.models import MOVED
from posemill.errors import RecipeError
from producer.recipes.prompts import Template, combinations, parse_template
from producer.recipes.recipe import Recipe
from producer.sources.manifests import SUFFIXES
from producer.sources.plain_values import printable
from producer.sources.rows import Row, expanded

LIMIT_ROW_ITEMS = 1_000_000  # of one source: more is a matrix that was not meant; a row's prompts are held in memory
FIRST_ROWS = 1000  # that tell whether anything has a column
HEAD_BYTES = 4096  # of a file that may be a text
TEXT_PICTURES = (b"P1", b"P2", b"P3")  # how PPM's formats of text begin
BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def templates_of(recipe: Recipe) -> list[Template]:
    """The recipe's prompts. Raises RecipeError for one that is no template, and for more items than can be meant."""
    templates = [parse_template(prompt) for prompt in recipe.prompts]
    prompts = combinations(templates, recipe.matrix)
    seeds = recipe.seeds if isinstance(recipe.seeds, int) else len(recipe.seeds)
    if prompts * seeds > LIMIT_ROW_ITEMS:
        raise RecipeError(
            f"matrix: {_count(prompts)} prompts with {seeds} seeds each for every source; "
            f"the limit is {LIMIT_ROW_ITEMS} images for one source"
        )
    return templates


def notes_on(recipe: Recipe) -> list[str]:
    """What is collapsed or has no effect, in sentences."""
    named = {name for prompt in recipe.prompts for name in parse_template(prompt).columns}
    given: dict[str, Sequence[object]] = {"prompts": recipe.prompts}
    given |= {"seeds": recipe.seeds if isinstance(recipe.seeds, list) else []}
    given |= {f"matrix.{name}": values for name, values in recipe.matrix.items()}
    notes = [
        f"{place}: {value!r} stands {times} times and counts once"
        for place, values in given.items()
        for value, times in Counter(str(value) for value in values).items()
        if times > 1
    ]
    if (base := recipe.generate.base) in MOVED:
        notes.append(f"generate.base: {base} was deleted from the Hub; {MOVED[base]} is taken, its maintained copy")
    return notes + [
        f"matrix.{name}: no prompt names {{{name}}}{_meant(name, named)}" for name in recipe.matrix if name not in named
    ]


def require_no_text(sources: str, folder: Path, *, poses: bool) -> None:
    """Raises RecipeError when `sources` is one file that holds a text, and by its name neither manifest nor picture."""
    path = folder / expanded(sources)
    named = path.suffix.lower() in SUFFIXES or (guess_type(path.name)[0] or "").startswith("image/")
    try:
        if poses or named or "://" in sources or not path.is_file():
            return
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return  # who reads the sources says so
    if not _is_text(head):
        return
    hint = "; for pose files give detect.detector: keypoints" if path.suffix.lower() == ".json" else ""
    raise RecipeError(
        f"sources: {path} is a text, neither a picture nor a manifest; "
        f"a manifest is {', '.join(SUFFIXES)} with a column source{hint}"
    )


def require_prompts(rows: Iterator[Row], recipe: Recipe, templates: Sequence[Template]) -> Iterator[Row]:
    """The same rows. Raises RecipeError when none of the first has a prompt, and each for the same reason."""
    first = list(itertools.islice(rows, FIRST_ROWS))
    asking = [row for row in first if row.error is None]
    if asking and all(row.prompt is None for row in asking):
        _require_columns(asking, recipe, templates)
    return itertools.chain(first, rows)


def _require_columns(rows: list[Row], recipe: Recipe, templates: Sequence[Template]) -> None:
    if not templates:
        raise RecipeError("no prompt: give the recipe `prompts`, or the rows of a manifest a column prompt")
    there = set(recipe.matrix).union(*(row.columns for row in rows))
    for template in templates:
        if missing := next((name for name in template.columns if name not in there), None):
            known = f"; there are {printable(', '.join(sorted(there)), 500)}" if there else "; there is no matrix"
            raise RecipeError(
                f"prompt {template.text!r} names {{{missing}}}, which neither the matrix nor any row has"
                f"{_meant(missing, there)}{known}"
            )


def _meant(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {{{close[0]}}}?" if close else ""


def _is_text(head: bytes) -> bool:
    if not head or head.startswith(TEXT_PICTURES) or b"\0" in head:
        return head.startswith(BOMS)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _count(number: int) -> str:
    return str(number) if number < 10**12 else f"about 10^{len(str(number)) - 1}"
