"""Filters such as `people == 1 and score > 0.5`: Python's syntax, a small part of its meaning, and no eval."""

import ast
import operator
import warnings
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any

from posemill.errors import BadInput

Columns = Mapping[str, Any]
Filter = Callable[[Columns], bool]

LIMIT_LETTERS = 5000
LIMIT_SHOWN = 200  # letters of a filter in a message

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, container: value in container,
    ast.NotIn: lambda value, container: value not in container,
}
_CONSTANTS = (str, int, float)  # bool is an int
_ALLOWED = "columns, numbers, texts, lists, comparisons, in, and, or, not"


def parse_filter(expression: str, known: Collection[str] | None = None) -> Filter:
    """A predicate on a sample's columns; the empty expression lets all pass.

    Raises BadInput when the expression does anything else than compare, or names a column that is not `known`.
    """
    if not expression.strip():
        return lambda _: True
    shown = ascii(expression if len(expression) <= LIMIT_SHOWN else expression[:LIMIT_SHOWN] + "…")
    if len(expression) > LIMIT_LETTERS:
        raise BadInput(f"--where {shown}: longer than {LIMIT_LETTERS} letters")
    try:
        with warnings.catch_warnings(action="ignore"):  # of Python's, on what looks odd; what counts is said here
            tree = ast.parse(expression.strip(), mode="eval").body
        evaluate = _built(tree, shown, known)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError | MemoryError) else error
        raise BadInput(f"--where {shown}: not an expression ({reason})") from error

    def passes(columns: Columns) -> bool:
        try:
            return bool(evaluate(columns))
        except TypeError as error:
            raise BadInput(f"--where {shown}: {error}; texts need quotes, numbers none") from error

    return passes


def _built(  # noqa: PLR0911  # a return for each kind of node
    node: ast.expr, shown: str, known: Collection[str] | None
) -> Callable[[Columns], Any]:
    """The function that evaluates a node; every kind of node is listed here, and no other is taken."""

    def build(part: ast.expr) -> Callable[[Columns], Any]:
        return _built(part, shown, known)

    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            parts = [build(value) for value in values]
            return lambda columns: all(part(columns) for part in parts)
        case ast.BoolOp(op=ast.Or(), values=values):
            parts = [build(value) for value in values]
            return lambda columns: any(part(columns) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = build(operand)
            return lambda columns: not inner(columns)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return lambda _: -number
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            compare = [_COMPARISONS.get(type(op)) for op in ops]
            if None not in compare:
                return _comparison([build(part) for part in (left, *comparators)], compare)  # type: ignore[arg-type]
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            parts = [build(element) for element in elements]
            return lambda columns: [part(columns) for part in parts]
        case ast.Constant(value=value) if isinstance(value, _CONSTANTS):
            return lambda _: value
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id="columns"), slice=ast.Constant(value=str() as name)):
            return _column(name, shown, known)
        case _:
            pass
    raise BadInput(f"--where {shown}: {ast.unparse(node)!a} is not allowed; there are {_ALLOWED}")


def _column(name: str, shown: str, known: Collection[str] | None) -> Callable[[Columns], Any]:
    if known is not None and name not in known:
        close = get_close_matches(name, known, n=1)
        meant = f"did you mean {close[0]!r}? There" if close else "there"
        raise BadInput(f"--where {shown}: no column is named {name!a}; {meant} are {', '.join(sorted(known))}")
    return lambda columns: columns[name]


def _comparison(
    parts: list[Callable[[Columns], Any]], compare: list[Callable[[Any, Any], Any]]
) -> Callable[[Columns], bool]:
    """A comparison, chained as Python chains it: `0.5 < score <= 0.9`."""

    def holds(columns: Columns) -> bool:
        values = [part(columns) for part in parts]
        return all(each(a, b) for each, a, b in zip(compare, values, values[1:], strict=False))

    return holds
