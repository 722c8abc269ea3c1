"""The last few things that were read, shared between threads: neighbours in a run need the same ones."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by key, each read once while it is kept; a reader that fails is asked again next time."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._values: OrderedDict[Hashable, Future[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """The value, read if it is not among those kept; the one that was not asked for longest goes."""
        with self._lock:
            future = self._values.get(key)
            if mine := future is None:
                future = self._values[key] = Future()
                if len(self._values) > self._keep:
                    self._values.popitem(last=False)
            else:
                self._values.move_to_end(key)
        return self._read(key, future, read) if mine else future.result()

    def _read(self, key: Hashable, future: Future[T], read: Callable[[], T]) -> T:
        try:
            value = read()
        except BaseException as error:  # not ours to judge: it goes on to all who wait
            with self._lock:
                self._values.pop(key, None)
            future.set_exception(error)
            raise
        future.set_result(value)
        return value
