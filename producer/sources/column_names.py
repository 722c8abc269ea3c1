"""The names of a manifest's columns: what is meant by those that are almost known, and which are refused."""

import re
import unicodedata
from collections.abc import Collection, Sequence

import msgspec

from posemill.errors import BadInput

SOURCE_COLUMNS = ("source", "control_image", "pose")
KNOWN_COLUMNS = (*SOURCE_COLUMNS, "prompt", "negative_prompt", "seed", "caption")
MARKS = re.compile(r"[\s_\-]+")  # between a name's words
INVISIBLE = "Cf"  # Unicode's class of characters without a place: zero-width ones, soft hyphens, byte order marks
LEAST_LETTERS = 3  # of a word that is cut short
SHORT = 5  # names of fewer letters have words of other meanings beside them: pose and post, seed and speed


class ColumnTrouble(BadInput):
    """A column whose name cannot stay as it is."""


class ColumnNames(msgspec.Struct, frozen=True, kw_only=True):
    """What a row's columns may be called: posemill's own names, and those that the recipe's prompts name.

    `named`: None where nobody can say; then every column is wanted and only posemill's own names are corrected.
    """

    named: Collection[str] | None = None

    def meant(self, name: str) -> str:
        """The name without blanks around it; as it is known where it differs in case, blanks, - and _ alone."""
        stripped = _stripped(name)
        if stripped in (self.named or ()):
            return stripped
        letters = _letters(stripped)
        return next((known for known in self._known if _letters(known) == letters), stripped)

    def wants(self, name: str) -> bool:
        """Whether anything reads such a column."""
        return self.named is None or name in self._known

    def header(self, columns: Sequence[str]) -> list[str]:
        """What each column is called; nothing for one without a name.

        Raises ColumnTrouble for a name that stands twice, or is spelt almost like one that is known and missing.
        """
        names = [self.meant(column) for column in columns]
        first: dict[str, str] = {}
        for column, name in zip(columns, names, strict=True):
            if name and name in first:
                both = (
                    f"{first[name]!r} and {column!r} are one" if first[name] != column else f"{column!r} stands twice"
                )
                raise ColumnTrouble(f"columns: {both}; give it once")
            first[name] = column
        for name in first:
            if missed := self._missed(name, first):
                raise ColumnTrouble(f"column {name!r}: did you mean {missed!r}? Rename it, or leave it out")
        return names

    @property
    def _known(self) -> tuple[str, ...]:
        return (*KNOWN_COLUMNS, *(self.named or ()))

    def _missed(self, name: str, present: Collection[str]) -> str | None:
        """The known name that is spelt almost so and stands nowhere else."""
        if self.named is None or not name or name in self._known:
            return None
        return next((known for known in self._known if known not in present and is_misspelt(name, known)), None)


def is_misspelt(name: str, known: str) -> bool:
    """Whether a name is a known one with one mistake: letters exchanged, one doubled, lost or wrong, or a plural."""
    a, b = _letters(name), _letters(known)
    if len(b) < SHORT - 1 or not a or a == b:
        return False
    if any(a == b[:at] + b[at + 1] + b[at] + b[at + 2 :] for at in range(len(b) - 1)):
        return True
    if a[0] != b[0]:
        return False
    if (
        _is_short_for(name, known)
        or a in (f"{b}s", f"{b}es")
        or any(a == b[:at] + b[at - 1] + b[at:] for at in range(1, len(b) + 1))
    ):
        return True
    lost = len(b) >= SHORT and any(b[:at] + b[at + 1 :] in (a, a.removesuffix("s")) for at in range(len(b)))
    return lost or (len(b) > SHORT and len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) == 1)


def _is_short_for(name: str, known: str) -> bool:
    """Whether a name of several words has the known one's beginnings: neg_prompt, control_img."""
    words, whole = MARKS.split(name.casefold()), MARKS.split(known)
    pairs = list(zip(words, whole, strict=False))
    return 1 < len(words) == len(whole) and all(_is_beginning(short, word) for short, word in pairs)


def _is_beginning(short: str, word: str) -> bool:
    return (len(short) >= LEAST_LETTERS and word.startswith(short)) or (short, word) == ("img", "image")


def _letters(name: str) -> str:
    return MARKS.sub("", _visible(name)).casefold()


def _visible(name: str) -> str:
    """The name with wide letters as narrow ones and hard blanks as blanks, without what nobody sees."""
    if name.isascii():
        return name
    return "".join(each for each in unicodedata.normalize("NFKC", name) if unicodedata.category(each) != INVISIBLE)


def _stripped(name: str) -> str:
    """The name without blanks and invisible characters around it; within, some scripts need them."""
    around = "".join({each for each in name if each.isspace() or unicodedata.category(each) == INVISIBLE})
    return name.strip(around)
