"""What a benchmark says: one figure, its goal and its peer, as a JSON line."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure."""

    name: str
    value: float
    unit: str  # what the value counts: "ratio", "share", "MiB"
    goal: str  # ">= 4" or "<= 1.2"
    peer: str  # what it was compared with, in words
    detail: dict[str, Any] = field(default_factory=dict)  # both sides' own numbers, rounds, sizes

    @property
    def reached(self) -> bool:
        """Whether the value is on the right side of the goal."""
        relation, bound = self.goal.split()
        return self.value >= float(bound) if relation == ">=" else self.value <= float(bound)

    def line(self) -> str:
        """The figure as one line of JSON."""
        return msgspec.json.encode(asdict(self) | {"reached": self.reached}).decode()


def seconds_of(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternate(
    ours: Callable[[], object], peer: Callable[[], object], rounds: int, *, before: Callable[[], object] = lambda: None
) -> tuple[list[float], list[float]]:
    """Seconds of both, taken in turns, so that a noisy machine disturbs both alike; `before` each is not counted."""
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(rounds):
        for taken, work in zip(seconds, (ours, peer), strict=True):
            before()
            taken.append(seconds_of(work))
    return seconds


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """Median of the ratios of neighbours in time."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
