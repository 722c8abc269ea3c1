"""Every key, queue and task name, each built in this one place."""

import re
from enum import IntEnum, StrEnum

from posemill.errors import BadInput

# Celery -------------------------------------------------------------------------------------------------------


class Stage(StrEnum):
    """A step of a run; also the name of its queue's and task's last part."""

    DETECT = "detect"
    GENERATE = "generate"
    VERIFY = "verify"  # of runs whose recipe asks for it


def queue_name(stage: Stage) -> str:
    """The Celery queue of a stage."""
    return f"posemill.{stage}"


def task_name(stage: Stage) -> str:
    """The Celery task of a stage."""
    return f"posemill.{stage}"


class Priority(IntEnum):
    """Of a message; workers take lower numbers first. kombu on Redis knows these four."""

    AGAIN = 0  # batches that go out once more: a dead worker's must not wait behind a full queue
    HIGH = 3
    NORMAL = 6
    LOW = 9


def queue_list(queue: str, priority: Priority) -> str:
    """The Redis list where kombu keeps a queue's messages of one priority."""
    return f"{queue}\x06\x16{priority.value}" if priority else queue


# Object storage -----------------------------------------------------------------------------------------------

STORE_IDENTITY = "store.json"  # tells this store from all others; see posemill/queue/store_identity.py
SUBMISSIONS = "submissions/"  # a mark for each submission that goes on; see producer/runs/turns.py
SWEEP = "sweep.json"  # stands while what no run uses is removed
SOURCES, CONTROLS = "sources/", "controls/"
RECORDS_A_FOLDER = 1000  # batch records are spread over folders, so that a listing can be split


class RunKeys:
    """Object keys of one run; everything a run owns lies below `root`."""

    def __init__(self, run_id: str) -> None:
        self.root = f"runs/{run_id}/"
        self.run = f"{self.root}run.json"
        self.sealed = f"{self.root}plan/sealed.json"
        self.state = f"{self.root}state.json"
        self.images = f"{self.root}images/"
        self.refused_rows = f"{self.root}plan/refused/"
        self.rounds = f"{self.root}plan/rounds/"
        self.judges = f"{self.root}judges/"

    def shards(self, stage: Stage) -> str:
        """Below it stand the slices of a stage's plan."""
        return f"{self.root}plan/{stage}/"

    def shard(self, stage: Stage, shard: int) -> str:
        """A slice of about a thousand rows of a stage's plan."""
        return f"{self.shards(stage)}{shard:06d}.jsonl"

    def refused(self, shard: int) -> str:
        """A slice of the manifest rows that could not be used."""
        return f"{self.refused_rows}{shard:06d}.jsonl"

    def round_step(self, step: int) -> str:
        """What one more judged shard, or a retry, added to the plan."""
        return f"{self.rounds}{step:06d}.json"

    def records(self, stage: Stage) -> str:
        """Below it stand the records of a stage's batches."""
        return f"{self.root}records/{stage}/"

    def record(self, stage: Stage, batch: int) -> str:
        """The outcome of every row of a batch; a folder holds a thousand."""
        return f"{self.records(stage)}{batch // RECORDS_A_FOLDER:06d}/{batch:09d}.json"

    def flags(self, stage: Stage) -> str:
        """Below it stands a flag for each batch of a stage that is not all done."""
        return f"{self.root}flags/{stage}/"

    def flag(self, stage: Stage, batch: int) -> str:
        """Marks a batch whose record holds more than done items; written before the record."""
        return f"{self.flags(stage)}{batch:09d}"

    def set_aside(self, stage: Stage) -> str:
        """Below it stand the records that `retry` set aside."""
        return f"{self.root}superseded/{stage}/"

    def superseded(self, stage: Stage, batch: int) -> str:
        """The record that `retry` set aside; its done items are kept by the next attempt."""
        return f"{self.set_aside(stage)}{batch:09d}.json"

    def judged_by(self, run_id: str) -> str:
        """Marks that another run judges this one's images, which must stay as long as that one does."""
        return f"{self.judges}{run_id}"

    def pin(self, model: str, revision: str | None) -> str:
        """The commit that a model's revision means in this run, where its submission could not tell."""
        name = re.sub(r"[^\w.-]", "--", f"{model}@{revision or 'main'}", flags=re.ASCII)
        return f"{self.root}pins/{name}.json"

    def image(self, item_id: str, image_format: str = "png") -> str:
        """The image of an item; its ending says the format."""
        return f"{self.images}{item_id[:2]}/{item_id}.{image_format}"


def batch_of(key: str) -> int:
    """The batch number in a record's or a flag's key."""
    return int(key.rsplit("/", 1)[-1].removesuffix(".json"))


def source_key(sha256: str) -> str:
    """Where a user's local picture is kept; shared by all runs."""
    return f"{SOURCES}{sha256[:2]}/{sha256}"


def control_key(control_digest: str) -> str:
    """The control image with that content digest; shared by all runs."""
    return f"{CONTROLS}{control_digest[:2]}/{control_digest}.png"


def pose_key(control_digest: str) -> str:
    """What is known of a control image: size, keypoints, why it cannot be used. Written after the image."""
    return f"{CONTROLS}{control_digest[:2]}/{control_digest}.json"


# Redis --------------------------------------------------------------------------------------------------------

STORE = "posemill:store"  # string: identity and address, as JSON, of the store that this Redis belongs to
RUNS = "posemill:runs"  # set of run ids that the dispatcher looks after
DISPATCHER = "posemill:dispatcher"  # lock: id of the elected dispatcher
FITTING = "posemill:fitting"  # hash: digest of card, model and picture size -> images that fit at once
WORKERS = "posemill:workers"  # hash: worker id -> its last heartbeat as JSON


def device_note(worker: str) -> str:
    """String: the batch that is on a worker's device at this moment."""
    return f"posemill:device:{worker}"


def run_hash(run_id: str) -> str:
    """Hash: state, totals, counters, cursors."""
    return f"posemill:run:{run_id}"


def pace_list(run_id: str) -> str:
    """List: recent samples of (time, items done), for the remaining time."""
    return f"posemill:run:{run_id}:pace"


class StageKeys:
    """Redis keys of one stage of one run. Sizes: one bit a batch, the rest grows with the window alone."""

    def __init__(self, run_id: str, stage: Stage) -> None:
        root = f"posemill:run:{run_id}:{stage}"
        self.done = f"{root}:done"  # bitmap by batch number
        self.leases = f"{root}:leases"  # zset: batch -> end of its lease
        self.holders = f"{root}:holders"  # hash: batch -> fencing number
        self.sent = f"{root}:sent"  # zset: batch -> when its message was sent
        self.waiting = f"{root}:waiting"  # zset: batch -> when it may be sent again
        self.blocked = f"{root}:blocked"  # zset: batches passed over because their sources are not detected yet
        self.history = f"{root}:history"  # hash: batch -> what happened to it so far, as JSON; see ledger.History

    def all(self) -> list[str]:
        """Every key of the stage, to remove them together."""
        zsets = [self.leases, self.sent, self.waiting, self.blocked]
        return [self.done, *zsets, self.holders, self.history]


def checked_run_id(run_id: str) -> str:
    """The run id as it was given. Raises BadInput when it cannot be part of a key."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", run_id):
        raise BadInput(f"run id {run_id!r}: use up to 100 letters, digits, dots, dashes and underscores")
    return run_id
