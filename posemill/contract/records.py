"""What is written down: the run, its plan and the outcome of every batch. All JSON, all immutable."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Literal, TypeVar

import msgspec

from posemill.contract.keys import Stage
from posemill.contract.specs import DetectSpec, GenerateSpec
from posemill.errors import UnreadableRecord

T = TypeVar("T")


class RunState(StrEnum):
    """What a run is at the moment."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    COMPLETE = "complete"
    RETRYING = "retrying"  # records with failed rows are being set aside


class Outcome(StrEnum):
    """What became of a source or an item."""

    DONE = "done"
    REJECTED = "rejected"  # nothing went wrong, but there is no picture to make; `reason` says why
    FAILED = "failed"  # something went wrong; `reason` and `message` say what
    AGAIN = "again"  # of a judged image: it was not right, and another one is made instead


SHARD_ROWS = 1000  # about; a shard holds whole batches


class Slicing(msgspec.Struct, frozen=True, kw_only=True):
    """How a stage's rows are cut: batch k is a slice of shard k // batches_a_shard."""

    batch_size: int
    shard_size: int  # rows; a multiple of batch_size

    @property
    def batches_a_shard(self) -> int:
        """How many batches a whole shard holds."""
        return self.shard_size // self.batch_size

    def place(self, batch: int) -> tuple[int, slice]:
        """The shard that holds a batch, and the batch's rows in it."""
        shard, position = divmod(batch, self.batches_a_shard)
        start = position * self.batch_size
        return shard, slice(start, start + self.batch_size)

    def batches(self, rows: int) -> int:
        """How many batches so many rows make."""
        return -(-rows // self.batch_size)

    def rows_in(self, batch: int, rows: int) -> int:
        """How many of all `rows` a batch covers; only the last one may be short."""
        return min(self.batch_size, rows - batch * self.batch_size)


def slicing_for(batch_size: int) -> Slicing:
    """Shards of about a thousand rows."""
    return Slicing(batch_size=batch_size, shard_size=max(1, SHARD_ROWS // batch_size) * batch_size)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Which poses a run accepts. Not part of a control image's identity: other runs may accept others."""

    min_people: int = 1
    max_people: int | None = None


class CheckSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One check of every image, with its options."""

    check: str  # a name of the table of checks, or of another distribution's
    options: dict[str, str | float | None] = {}


class VerifySpec(msgspec.Struct, frozen=True, kw_only=True):
    """How images are judged. Not part of an item's identity: the image is the same, whoever looks at it."""

    checks: tuple[CheckSpec, ...]
    tries: int = 3  # images made for an item at most
    keep_rejects: bool = True  # their images stay in storage
    commits: dict[str, str] = {}  # of the models that the checks load, by hub id or folder


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One recipe, resolved and frozen."""

    id: str
    name: str
    created_at: str  # ISO 8601, UTC
    recipe: dict[str, Any]  # as the user wrote it, overrides applied
    recipe_digest: str
    detects: tuple[DetectSpec, ...]  # one for each control, in the order of the ControlNets
    rules: Rules
    generate: GenerateSpec
    slicing: dict[Stage, Slicing]
    queues: dict[Stage, str]
    posemill_version: str
    priority: Literal["low", "normal", "high"] = "normal"  # among the runs on one queue
    image_format: Literal["png", "webp"] = "png"  # both lossless
    kinds: tuple[str, ...] = ("openpose",)  # what each control is
    verify: VerifySpec | None = None  # None: images are not judged
    images_of: str = ""  # the run whose images this one judges again; nothing: it makes its own

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Those that this run has, in their order."""
        return tuple(stage for stage in Stage if stage in self.slicing)

    @property
    def limit_pixels(self) -> int:
        """Of a source; the recipe gives it once for all controls."""
        return self.detects[0].limit_pixels


class SkippedFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files and folders that a scan for sources passed over for one reason."""

    reason: str  # a stable word; docs/recipes.md has them
    count: int  # a folder that was not entered counts once
    first: str  # the name of the first one


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of a finished plan. Written last: a run without it is still being submitted."""

    rows: dict[Stage, int]
    batches: dict[Stage, int]
    refused_rows: int
    skipped: tuple[SkippedFiles, ...] = ()  # of the sources' folder or prefix
    repeated_rows: int = 0  # that bring nothing new: each of their items is planned already
    repeated_items: int = 0  # wanted again, within a row or by a later one, and planned once

    @property
    def sources(self) -> int:
        """How many sources are planned."""
        return self.rows[Stage.DETECT]

    @property
    def items(self) -> int:
        """How many images are planned."""
        return self.rows[Stage.GENERATE]


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the detect plan. Exactly one of `key`, `uri` and `pose` says where the content is."""

    name: str  # what the user calls it: relative path or URI
    identity: str  # sha256 of its bytes, or the URI with its ETag where the bytes were not read
    key: str | None = None  # in posemill's own storage
    uri: str | None = None  # s3://bucket/key elsewhere
    pose: dict[str, Any] | None = None  # a ready-made pose as OpenPose JSON


class BestTry(msgspec.Struct, frozen=True, kw_only=True):
    """Of the tries of an item that did not pass, the one that came nearest to it; of two alike the earlier one."""

    id: str
    try_number: int
    passed: int  # checks, before the one that refused it
    score: float  # by that check: the more, the nearer


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the generate plan: one image wanted."""

    id: str
    prompt: str
    seed: int
    negative_prompt: str = ""
    source_number: int | None = None  # its source in the detect plan
    control_image: Source | None = None  # a ready-made control image instead of a source
    columns: dict[str, str] = {}  # values of the matrix and of the manifest columns that the prompt names
    wanted: str = ""  # of a later try: the id of the first
    try_number: int = 1
    best: BestTry | None = None  # of the tries before this one

    @property
    def wanted_id(self) -> str:
        """The image that the user asked for, whichever try this is."""
        return self.wanted or self.id


class ShardHeader(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a plan shard."""

    first: int  # number of its first row in the whole plan
    rows: int
    needs: list[list[int]]  # for each batch, those of the stage before that it waits for; none: it waits for nothing


class RefusedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest row that could not become items."""

    place: str  # file:line, and the column where one is to blame
    message: str


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object as it was when it was recorded, so that `check` can see a change."""

    key: str
    sha256: str
    etag: str
    size: int  # bytes


class ControlResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one of a source's controls."""

    kind: str  # openpose, canny, depth, …
    detector: str  # its name, and the library's version that made it
    width: int = 0  # pixels
    height: int = 0
    reason: str = ""  # why it cannot be used; nothing when it can
    image: StoredObject | None = None  # None: there was nothing to draw


class SourceResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="source"):
    """What became of a source in the detect stage."""

    source_number: int
    name: str
    outcome: Outcome
    reason: str = ""  # a stable code, e.g. no_person
    message: str = ""
    source_sha256: str = ""
    people: int = 0
    score: float = 0.0  # mean score of the people
    controls: list[ControlResult] = []  # those that were looked for, in the run's order
    pose: StoredObject | None = None  # the JSON of the control that holds keypoints
    seconds: float = 0.0

    @property
    def row(self) -> int | str:
        """Which of the plan's rows it is about."""
        return self.source_number

    @property
    def objects(self) -> list[StoredObject]:
        """All that it names in storage."""
        images = [control.image for control in self.controls]
        return [stored for stored in (*images, self.pose) if stored]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its first control image, pixels; the picture's shape follows it."""
        return (self.controls[0].width, self.controls[0].height) if self.controls else (0, 0)

    @property
    def detector(self) -> str:
        """Who made its control images."""
        return "; ".join(control.detector for control in self.controls)


class ItemResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="item"):
    """What became of an item in the generate stage."""

    id: str
    outcome: Outcome
    reason: str = ""
    message: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    prompt_truncated: bool = False  # CLIP did not see its end
    seed: int = 0
    source_number: int | None = None
    source_name: str = ""
    control_keys: list[str] = []  # of its control images, in the run's order
    detector: str = ""  # that made them; nothing where the control image was ready-made
    columns: dict[str, str] = {}
    image: StoredObject | None = None
    width: int = 0
    height: int = 0
    batch_size: int = 0  # images in the pipeline call that made it
    seconds: float = 0.0  # of device time, its share of the call
    perceptual_hash: str = ""  # of the image, 16 hexadecimal digits; nothing where another worker's image stood already

    @property
    def row(self) -> int | str:
        """Which of the plan's rows it is about."""
        return self.id

    @property
    def objects(self) -> list[StoredObject]:
        """All that it names in storage."""
        return [self.image] if self.image else []


class JudgedResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="judged"):
    """What became of an image in the verify stage; of an item without one, its outcome as the stage before had it."""

    id: str
    outcome: Outcome
    reason: str = ""  # the first check that did not pass says it, e.g. pose_mismatch
    message: str = ""
    wanted: str = ""  # of a later try: the id of the first
    try_number: int = 1
    prompt: str = ""
    seed: int = 0
    source_number: int | None = None
    source_name: str = ""
    figures: dict[str, dict[str, float]] = {}  # by check
    found: dict[str, Any] | None = None  # the pose that was found again, as OpenPose JSON
    best: BestTry | None = None  # of an image that did not pass: the best try so far, this one among them
    seconds: float = 0.0

    @property
    def row(self) -> int | str:
        """Which of the plan's rows it is about."""
        return self.id

    @property
    def wanted_id(self) -> str:
        """The image that the user asked for, whichever try this is."""
        return self.wanted or self.id

    @property
    def objects(self) -> list[StoredObject]:
        """It names none: the image is the generate stage's."""
        return []


Result = SourceResult | ItemResult | JudgedResult


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a batch. Written last, on the condition that there is none: the first writer wins."""

    run_id: str
    stage: Stage
    batch: int
    attempt: int
    worker: str
    finished_at: str
    made_with: dict[str, Any]  # specification, device, dtype, library versions
    results: Sequence[Result] = ()  # one for each of the batch's rows, in the plan's order

    @property
    def sources(self) -> list[SourceResult]:
        """Its results of the detect stage."""
        return [result for result in self.results if isinstance(result, SourceResult)]

    @property
    def items(self) -> list[ItemResult]:
        """Its results of the generate stage."""
        return [result for result in self.results if isinstance(result, ItemResult)]

    @property
    def judged(self) -> list[JudgedResult]:
        """Its results of the verify stage."""
        return [result for result in self.results if isinstance(result, JudgedResult)]

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many of its rows had which outcome."""
        outcomes = [result.outcome for result in self.results]
        return {outcome: outcomes.count(outcome) for outcome in Outcome}


class StateChange(msgspec.Struct, frozen=True, kw_only=True):
    """The last wish of the user, or of a fault, for the whole run."""

    state: RunState
    reason: str = ""


def encode(record: msgspec.Struct) -> bytes:
    """A record as it lies in storage."""
    return msgspec.json.encode(record)


def decode(content: bytes, kind: type[T]) -> T:
    """Raises UnreadableRecord."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise UnreadableRecord(f"it is no {kind.__name__}: {error}") from error


def encode_shard(header: ShardHeader, rows: list[Source] | list[Item]) -> bytes:
    """A plan shard as it lies in storage: its header, then a line a row."""
    encoder = msgspec.json.Encoder()
    return encoder.encode_lines([header, *rows])


def decode_header(content: bytes) -> ShardHeader:
    """A plan shard's first line. Raises UnreadableRecord, also when the shard does not hold the rows it names."""
    first, _, rest = content.partition(b"\n")
    header = decode(first, ShardHeader)
    lines = len(rest.splitlines())
    if lines != header.rows:
        raise UnreadableRecord(f"it holds {lines} of {header.rows} rows")
    return header


def decode_rows(content: bytes, kind: type[T], rows: slice = slice(None)) -> list[T]:
    """Rows of a plan shard, without its header. Raises UnreadableRecord."""
    return list(_decode_each(content.splitlines()[1:][rows], kind))


def decode_lines(content: bytes, kind: type[T]) -> Iterator[T]:
    """Raises UnreadableRecord."""
    return _decode_each(content.splitlines(), kind)


def _decode_each(lines: list[bytes], kind: type[T]) -> Iterator[T]:
    decoder = msgspec.json.Decoder(kind)
    for number, line in enumerate(lines, start=1):
        try:
            yield decoder.decode(line)
        except msgspec.DecodeError as error:
            raise UnreadableRecord(f"row {number} of {len(lines)} is no {kind.__name__}: {error}") from error
