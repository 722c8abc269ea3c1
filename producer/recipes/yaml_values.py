"""YAML as plain values: version 1.2, every key once, texts as they are written, and within limits."""

import warnings
from collections.abc import Collection, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from posemill.errors import RecipeError
from producer.sources.plain_values import LIMIT_DEPTH

LIMIT_BYTES = 2_000_000  # a few seconds to read; tens of thousands of prompts belong into a manifest
TOO_LARGE = f"larger than {LIMIT_BYTES} bytes; put rows and their prompts into a manifest"
LIMIT_VALUES = 200_000  # with aliases followed; "a billion laughs" are ten lines. A node takes about 1 KB
VERSION = (1, 2)
TAG = "tag:yaml.org,2002:"
NUMBERS = {f"{TAG}{name}" for name in ("int", "float", "bool")}
PLAIN = NUMBERS | {f"{TAG}{name}" for name in ("str", "null", "timestamp", "merge", "value")}  # what no tag asks for


def read_yaml(
    text: str, *, where: str, texts: Collection[str] = (), words: Collection[str] = (), under: Sequence[str] = ()
) -> Any:
    """The document's values: mappings with texts as keys, lists, texts, numbers, truth values and None.

    Below a key of `texts` nothing that is written without quotes is taken for a number, a date or a truth value; below
    one of `words` the word null is a text too. `under`: keys that lead to the document. Raises RecipeError that begins
    with `where`.
    """
    if len(text) > LIMIT_BYTES:
        raise RecipeError(f"{where}: {TOO_LARGE}")
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _ShallowComposer
    try:
        with warnings.catch_warnings(action="ignore"):  # of anchors that are set again, which YAML allows
            node = yaml.compose(text)
        _require_version(yaml)
        return _Reader(yaml, frozenset(texts), frozenset(words)).values(node, tuple(under))
    except MarkedYAMLError as error:
        raise RecipeError(f"{where}: {_in_words(error, text)}") from error
    except (YAMLError, ValueError, RecursionError, AssertionError) as error:  # the last: of versions that are none
        raise RecipeError(f"{where}: not YAML: {' '.join(str(error).split())}") from error


def _require_version(yaml: YAML) -> None:
    """Raises ValueError for a document that asks for YAML 1.1, in which 010 is 8 and `on` is True."""
    if yaml.resolver.processing_version != VERSION:
        raise ValueError("a recipe is YAML 1.2; leave the line %YAML out")


class _ShallowComposer(Composer):
    """Composes within the limits, so that what is beyond ends in an error and not in stack or memory."""

    depth = nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """ruamel's own, no deeper than recipes may nest."""
        self.depth += 1
        self.nodes += 1
        if self.depth > LIMIT_DEPTH or self.nodes > LIMIT_VALUES:
            deep = self.depth > LIMIT_DEPTH
            problem = f"nested more than {LIMIT_DEPTH} levels deep" if deep else f"more than {LIMIT_VALUES} values"
            raise MarkedYAMLError(problem=problem, problem_mark=self.parser.peek_event().start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Reader:
    """Turns the nodes of one document into values."""

    def __init__(self, yaml: YAML, texts: frozenset[str], words: frozenset[str]) -> None:
        self._yaml = yaml
        self._texts = texts | words
        self._words = words
        self._values = 0

    def values(self, node: Node | None, keys: tuple[str, ...] = ()) -> Any:
        """`keys` lead to the node."""
        if node is None:
            return None
        self._values += 1
        if self._values > LIMIT_VALUES:
            raise _wrong(node, f"more than {LIMIT_VALUES} values, aliases followed")
        if len(keys) > LIMIT_DEPTH:
            raise _wrong(node, "an alias that holds itself")
        if isinstance(node, ScalarNode):
            return self._scalar(node, keys)
        if str(node.tag) not in (f"{TAG}map", f"{TAG}seq"):
            raise _wrong(node, f"the tag {node.tag} has no meaning here; leave it out")
        if isinstance(node, SequenceNode):
            return [self.values(part, (*keys, "")) for part in node.value]
        assert isinstance(node, MappingNode)
        return self._mapping(node, keys)

    def _mapping(self, node: MappingNode, keys: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise _wrong(key_node, "a key is a text; a text with {braces} or [brackets] needs quotes")
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in lines:
                raise _wrong(key_node, f"the key {key!r} is given twice, in line {lines[key]} and in line {line}")
            lines[key] = line
            if str(key_node.tag) == f"{TAG}merge":
                merged |= self._merged(value_node, keys)
            else:
                found[key] = self.values(value_node, (*keys, key))
        return merged | found

    def _merged(self, node: Node, keys: tuple[str, ...]) -> dict[str, Any]:
        """What `<<` brings: a mapping, or several of which the first to have a key wins."""
        value = self.values(node, (*keys, "<<"))
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            raise _wrong(node, "<< takes a mapping, or a list of them")
        return {name: value for part in reversed(parts) for name, value in part.items()}

    def _scalar(self, node: ScalarNode, keys: tuple[str, ...]) -> Any:
        text, tag = str(node.value), str(node.tag)
        if tag not in PLAIN:
            raise _wrong(node, f"the tag {tag} has no meaning here; leave it out")
        unquoted = not node.style
        if tag == f"{TAG}null":
            return text if unquoted and text.isalpha() and not self._words.isdisjoint(keys) else None
        if tag in NUMBERS and not (unquoted and not self._texts.isdisjoint(keys)):
            return self._number(node)
        return text

    def _number(self, node: ScalarNode) -> Any:
        try:
            return self._yaml.constructor.construct_object(node)
        except (ValueError, LookupError) as error:  # an asked-for tag on something else, or too many digits
            raise _wrong(node, f"{str(node.value)[:40]!r} is no {str(node.tag).removeprefix(TAG)}") from error


def _wrong(node: Node, problem: str) -> MarkedYAMLError:
    return MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _in_words(error: MarkedYAMLError, text: str) -> str:
    """One sentence: where, what, and the usual reason."""
    marks = [mark for mark in (error.problem_mark, error.context_mark) if mark is not None]
    if not marks:
        return f"not YAML: {' '.join(str(error).split())}"
    line = marks[0].line + 1
    if not error.context:
        return f"line {line}: {error.problem}"
    lines = text.splitlines()
    braces = any("{" in lines[mark.line] for mark in marks if mark.line < len(lines))
    hint = "; put the prompt in quotes: a text with {braces} needs them" if braces else ""
    return f"not YAML in line {line}: {error.problem}{hint}"
