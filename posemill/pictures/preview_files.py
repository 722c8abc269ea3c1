"""What the producer hands to the process that makes a preview, and what it gets back; all in one folder."""

import msgspec

RUN = "run.json"  # the resolved run
SOURCES = "sources.jsonl"  # Source records, whose keys are files of the folder
MADE = "made.jsonl"  # PreviewControl records


class PreviewControl(msgspec.Struct, frozen=True, kw_only=True):
    """What one detector made of one source."""

    source_number: int  # its line in SOURCES
    control_number: int  # its place among the run's controls
    kind: str
    detector: str
    reason: str = ""  # why there is no control image: a code of docs/recipes.md
    message: str = ""
    people: int | None = None  # of detectors that find people
    seconds: float = 0.0

    @property
    def file(self) -> str:
        """The control image's name in the folder; there is none when there is a reason."""
        return f"{self.source_number:04d}-{self.control_number}-{self.kind}.png"
