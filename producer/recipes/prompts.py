"""Prompts with {columns}: which columns they name, and every prompt that a row and the matrix give."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter

import msgspec

from posemill.errors import RecipeError


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt and the columns that it names."""

    text: str
    columns: tuple[str, ...]

    def fill(self, values: Mapping[str, object]) -> str:
        """Raises KeyError with the column that is missing."""
        return self.text.format_map(values) if self.columns else self.text.format()


def parse_template(text: str) -> Template:
    """Raises RecipeError when a brace is left open or a field is more than a column's name."""
    try:
        parsed = [
            (field, spec, conversion) for _, field, spec, conversion in Formatter().parse(text) if field is not None
        ]
    except ValueError as error:
        raise RecipeError(f"prompt {text!r}: {error}; write {{{{ and }}}} for braces that are meant") from error
    for field, spec, conversion in parsed:
        if not field.isidentifier() or spec or conversion:
            raise RecipeError(f"prompt {text!r}: between braces stands a column's name and nothing else")
    return Template(text=text, columns=tuple(dict.fromkeys(field for field, _, _ in parsed)))


def fillings(
    templates: Sequence[Template], matrix: Mapping[str, Sequence[object]], columns: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Each prompt with the values that it used: every template, every combination of its matrix columns.

    A row's own column hides a matrix column of the same name. What is given twice comes twice.
    """
    for template in templates:
        varied = [name for name in template.columns if name in matrix and name not in columns]
        for values in itertools.product(*(matrix[name] for name in varied)):
            known = {**columns, **dict(zip(varied, values, strict=True))}
            prompt = template.fill(known)
            yield prompt, {name: str(known[name]) for name in template.columns}


def combinations(templates: Sequence[Template], matrix: Mapping[str, Sequence[object]]) -> int:
    """How many prompts templates and matrix give at most, by multiplying."""
    return sum(math.prod(len(matrix.get(name, ())) or 1 for name in template.columns) for template in templates)
