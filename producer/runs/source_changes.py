"""What has changed at a run's sources since it was planned."""

import msgspec

from producer.sheets.lettering import counted


class SourceChanges(msgspec.Struct, frozen=True, kw_only=True):
    """The differences between a sealed run and its recipe's sources as they are now."""

    new_sources: int = 0
    gone_sources: int = 0
    new_items: int = 0  # those of new sources among them
    gone_items: int = 0
    first_new: tuple[str, ...] = ()  # names of new sources
    unreadable: str = ""  # why the sources could not be compared

    def __bool__(self) -> bool:
        return self != UNCHANGED

    @property
    def words(self) -> str:
        """In a sentence."""
        if self.unreadable:
            return f"the sources cannot be read any more, so the run stays as it was planned: {self.unreadable}"
        parts = [
            f"{counted(self.new_sources, 'new source')}{self._names()}" if self.new_sources else "",
            f"{counted(self.gone_sources, 'source')} gone" if self.gone_sources else "",
            f"{counted(self.new_items, 'new item')}" if self.new_items else "",
            f"{counted(self.gone_items, 'item')} gone" if self.gone_items else "",
        ]
        return "the sources have changed since the run was planned, and it stays as it was: " + ", ".join(
            filter(None, parts)
        )

    def _names(self) -> str:
        more = ", …" if self.new_sources > len(self.first_new) else ""
        return f" ({', '.join(self.first_new)}{more})"


UNCHANGED = SourceChanges()
