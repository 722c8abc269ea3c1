"""The small mistakes: what may stand in place of a piece of Python or Lua."""

import ast
import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitXor, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
LUA = (
    (r"(?<![<>=~])<(?!=)", "<="), (r"(?<![<>=~])>(?!=)", ">="), ("<=", "<"), (">=", ">"), ("==", "~="), ("~=", "=="),
    (r"\+ 1\b", "- 1"), (r"\bor 0\)", "or 1)"), (r", 1\)", ", 2)"), (r"\band\b", "or"), (" - ", " + "),
)  # fmt: skip


UNSEEN = {
    "log.…": "what a log says is for people; nothing is decided by it",
    "class …(frozen=, kw_only=)": "mypy holds them",
    "strict=, transaction=": "a proof that two lists are as long as each other; one round trip, whole or in parts",
    "content_type=": "what a browser is told of an object; nothing of ours reads it",
}
"""Places that are not broken, and why no test could, or should, notice."""
UNSEEN_NAMES = ("strict", "transaction", "content_type")

Change = Callable[[Any], object]


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """A file with one mistake in it."""

    file: str
    line: int
    before: str
    after: str
    content: str  # the whole file, broken

    @property
    def name(self) -> str:
        """What the list of equivalent mutants calls it: no line number, which moves."""
        return f"{self.file}: {self.before} -> {self.after}"


def mutants_of(file: str, text: str) -> list[Mutant]:
    """Every mutant of a file, in the order of its lines."""
    found = _of_lua(file, text) if file.endswith(".lua") else _of_python(file, text)
    unique = {mutant.content: mutant for mutant in found if mutant.content != text}
    return sorted(unique.values(), key=lambda mutant: (mutant.line, mutant.after))


def _of_lua(file: str, text: str) -> Iterator[Mutant]:
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        before = line.strip()
        if before.startswith("--"):
            continue
        changed = [line[: at.start()] + new + line[at.end() :] for old, new in LUA for at in re.finditer(old, line)]
        if re.match(r"(redis\.call\(.*\)|known\.\w+ = .*)$", before):
            changed.append("\n")
        for broken in changed:
            content = "".join([*lines[:number], broken, *lines[number + 1 :]])
            after = broken.strip() or "(dropped)"
            yield Mutant(file=file, line=number + 1, before=before, after=after, content=content)


def _of_python(file: str, text: str) -> Iterator[Mutant]:
    tree = ast.parse(text)
    left = {id(inner) for node in ast.walk(tree) for part in _unseen(node) for inner in ast.walk(part)}
    for index, node in enumerate(ast.walk(tree)):
        for change in [] if id(node) in left else _changes(node):
            broken = copy.deepcopy(tree)
            target = next(each for place, each in enumerate(ast.walk(broken)) if place == index)
            before = ast.unparse(target)
            change(target)
            try:
                after, content = ast.unparse(target), ast.unparse(ast.fix_missing_locations(broken))
            except (ValueError, TypeError):
                continue
            first, second = _difference(before, after)
            yield Mutant(file=file, line=getattr(node, "lineno", 0), before=first, after=second, content=content)


def _difference(before: str, after: str) -> tuple[str, str]:
    """The first lines in which two pieces differ."""
    olds, news = before.splitlines(), after.splitlines()
    for old, new in zip(olds, news, strict=False):
        if old != new:
            return old.strip(), new.strip()
    return (olds[-1].strip(), "(dropped)") if len(olds) > len(news) else (before[:80], after[:80])


def _unseen(node: ast.AST) -> list[ast.AST]:
    """Parts of a node that are left as they are; see UNSEEN."""
    if isinstance(node, ast.ClassDef):
        return list(node.keywords)
    if isinstance(node, ast.Assign) and _is_duration(node):
        return [node.value]
    if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log."):
        return [node]
    return [node] if isinstance(node, ast.keyword) and node.arg in UNSEEN_NAMES else []


def _changes(node: ast.AST) -> list[Change]:
    """What may be done to a node, each as a function of its copy."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        new = COMPARISONS[type(node.ops[0])]
        return [lambda copied: copied.ops.__setitem__(0, new())]
    if isinstance(node, ast.BoolOp):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        return [lambda copied: setattr(copied, "op", other())]
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in ARITHMETIC and not _is_text(node):
        operator = ARITHMETIC[type(node.op)]
        return [lambda copied: setattr(copied, "op", operator())]
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        return [lambda copied: setattr(copied, "test", ast.UnaryOp(op=ast.Not(), operand=copied.test))]
    if isinstance(node, ast.Assign) and _is_duration(node):
        return [lambda copied: setattr(copied.value, "value", copied.value.value * 10)]
    return _omissions(node) or _other_constant(node)


def _other_constant(node: ast.AST) -> list[Change]:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return [lambda copied: setattr(copied, "value", not copied.value)]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return [lambda copied: setattr(copied, "value", copied.value + 1)]
    return []


def _omissions(node: ast.AST) -> list[Change]:
    """A keyword argument or a line left out."""
    if isinstance(node, ast.Call):
        named = [place for place, each in enumerate(node.keywords) if each.arg and each.arg not in UNSEEN_NAMES]
        return [lambda copied, place=place: copied.keywords.pop(place) for place in named]  # type: ignore[misc]
    if isinstance(node, ast.FunctionDef | ast.For | ast.With | ast.Try | ast.If):
        return [_dropping(place) for place, line in enumerate(node.body) if _may_go(line)]
    return []


def _is_duration(node: ast.Assign) -> bool:
    """A constant of so many seconds: one more is nothing that anybody could tell, ten times as many is."""
    name, value = node.targets[0], node.value
    return isinstance(name, ast.Name) and name.id.endswith("_SECONDS") and isinstance(value, ast.Constant)


def _dropping(place: int) -> Change:
    return lambda copied: copied.body.__setitem__(place, ast.Pass())


def _may_go(line: ast.stmt) -> bool:
    """Whether a line is a call, a raise or an assignment to a part of something, whose absence Python would not see."""
    if isinstance(line, ast.Expr):
        return isinstance(line.value, ast.Call) and not ast.unparse(line.value.func).startswith("log.")
    if isinstance(line, ast.Assign):
        return not isinstance(line.targets[0], ast.Name | ast.Tuple)
    return isinstance(line, ast.AugAssign | ast.Raise)


def _is_text(node: ast.BinOp | ast.AugAssign) -> bool:
    sides = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    return any(isinstance(side, ast.JoinedStr) or _is_string(side) for side in sides)


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
