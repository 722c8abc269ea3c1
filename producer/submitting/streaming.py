"""Work on a stream with threads: in order, a bounded number at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], values: Iterable[T], *, threads: int = 16, ahead: int = 64) -> Iterator[R]:
    """`function` of each value, in the values' order; at most `ahead` are taken from the stream early."""
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for value in values:
            pending.append(pool.submit(function, value))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
