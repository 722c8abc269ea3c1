"""Even samples: of many things a few that lie equally far apart, also of a stream whose length nobody knows."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


def even_places(total: int, most: int) -> list[int]:
    """At most `most` of the numbers below `total`, equally far apart, the first and the last among them."""
    if total <= most:
        return list(range(total))
    if most <= 1:
        return list(range(most))
    return [round(place * (total - 1) / (most - 1)) for place in range(most)]


def even_sample(stream: Iterable[T], most: int) -> list[T]:
    """At most `most` things of a stream, in its order."""
    sample = EvenSample[T](most)
    for thing in stream:
        sample.add(thing)
    return sample.chosen()


class EvenSample(Generic[T]):
    """A sample of what is added one by one; holds no more than four times as many things as it gives."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._every = 1  # of what is added, each so-many-th is kept
        self._kept: list[T] = []
        self.total = 0

    def add(self, thing: T) -> bool:
        """Whether the thing is kept; later ones may take its place."""
        number, self.total = self.total, self.total + 1
        if self._most < 1 or number % self._every:
            return False
        self._kept.append(thing)
        if len(self._kept) >= 4 * self._most:
            self._kept, self._every = self._kept[::2], 2 * self._every
        return True

    @property
    def kept(self) -> list[T]:
        """All that may still be chosen, in the order in which it came."""
        return list(self._kept)

    def chosen(self) -> list[T]:
        """What was chosen so far, in the order in which it came."""
        return [self._kept[place] for place in even_places(len(self._kept), self._most)]
