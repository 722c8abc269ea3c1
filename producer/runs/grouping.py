"""What was refused, rejected or failed, put together by its reason."""

from collections.abc import Iterable

import msgspec

from posemill.contract.records import RefusedRow, Result, SourceResult


class FailureGroup(msgspec.Struct, kw_only=True):
    """All failures that share a kind, an outcome and a reason."""

    rows: str  # rows, sources or items
    outcome: str
    reason: str
    count: int = 0
    shown: list[str] = []  # the first of them, a line each


def by_reason(failures: Iterable[RefusedRow | Result], *, most: int) -> list[FailureGroup]:
    """The groups, the largest first; each shows its first `most` failures, all where that is 0."""
    groups: dict[tuple[str, str, str], FailureGroup] = {}
    for failure in failures:
        key = _group_of(failure)
        group = groups.setdefault(key, FailureGroup(rows=key[0], outcome=key[1], reason=key[2]))
        group.count += 1
        if not most or len(group.shown) < most:
            group.shown.append(_line_of(failure))
    return sorted(groups.values(), key=lambda group: -group.count)


def _group_of(failure: RefusedRow | Result) -> tuple[str, str, str]:
    if isinstance(failure, RefusedRow):
        return "rows", "refused", "they cannot be used"
    rows = "sources" if isinstance(failure, SourceResult) else "items"
    return rows, str(failure.outcome), failure.reason


def _line_of(failure: RefusedRow | Result) -> str:
    if isinstance(failure, RefusedRow):
        return failure.message  # which begins with its place
    if isinstance(failure, SourceResult):
        return f"{failure.name}: {failure.message}" if failure.message else failure.name
    of = f" of {failure.source_name}" if failure.source_name else ""
    said = f": {failure.message}" if failure.message else ""
    return f"{failure.id}{of}, seed {failure.seed}, {failure.prompt!r}{said}"
