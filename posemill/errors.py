"""Every error posemill raises on purpose.

PosemillError
├── PermanentError          trying again cannot help
│   ├── BadInput            what the user handed in is wrong: a recipe, a row, a picture, a pose file
│   │   ├── RecipeError
│   │   │   └── NothingToDo   no source where sources should be
│   │   ├── RowError
│   │   ├── RunConflict     the run id already belongs to something else
│   │   └── ChangedObject   an object in storage is not what was written there
│   └── NotFound            a run or an object that does not exist
├── RunFault                the run itself cannot go on: model missing, bucket gone, bad credentials
│   ├── RunPaused           it has stopped a run that somebody waits for
│   └── UnreadableRecord    run, plan or record in storage is not what posemill wrote
├── TransientError          trying again later may help: storage 5xx, time-outs, out of memory
│   ├── OutOfMemory
│   └── HubAway             the Hub of models does not answer, or a download broke off
├── NotOver                 a run did not end in the time that was given to it; a TimeoutError too
├── LeaseLost               another worker took the batch over; what was computed is thrown away
└── ServiceError            Redis, storage or an embedded server cannot be reached or is misconfigured
"""


class PosemillError(Exception):
    """Root of all errors; `code` is the stable word that records and `--json` carry."""

    code = "error"


class PermanentError(PosemillError):
    """Trying again cannot help."""

    code = "permanent"


class BadInput(PermanentError):
    """What the user handed in is wrong; the message says what, where and what to do."""

    code = "bad_input"


class RecipeError(BadInput):
    """The recipe cannot be run as it is written."""

    code = "bad_recipe"


class NothingToDo(RecipeError):
    """There is no source where the recipe says that sources are."""

    code = "nothing_to_do"


class RowError(BadInput):
    """One row of a manifest is wrong; `place` names file, line and column."""

    code = "bad_row"

    def __init__(self, message: str, *, place: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place


class RunConflict(BadInput):
    """The run id already belongs to another recipe, or its sources have changed since."""

    code = "run_conflict"


class ChangedObject(BadInput):
    """An object in storage is not what was written there."""

    code = "changed"


class NotFound(PermanentError):
    """A run or an object that does not exist."""

    code = "not_found"


class RunFault(PosemillError):
    """The whole run cannot go on until somebody mends its cause; no item is to blame."""

    code = "run_fault"


class RunPaused(RunFault):
    """A run that is waited for was paused by a fault."""

    code = "run_paused"


class UnreadableRecord(RunFault):
    """What lies in storage cannot be read as what it should be; the message says where it breaks."""

    code = "unreadable_record"


class TransientError(PosemillError):
    """Trying again later may help."""

    code = "transient"


class OutOfMemory(TransientError):
    """The device could not hold the batch; a smaller one may fit."""

    code = "out_of_memory"


class HubAway(TransientError):
    """The Hub of models does not answer, or a download broke off; what was fetched of it is kept."""

    code = "hub_away"


class NotOver(PosemillError, TimeoutError):
    """A run did not end in the time that was given to it; it goes on."""

    code = "not_over"


class LeaseLost(PosemillError):
    """Another worker holds the batch now; drop what was computed for it."""

    code = "lease_lost"


class ServiceError(PosemillError):
    """Redis, storage or an embedded server cannot be reached or is misconfigured."""

    code = "service"


def in_words(error: Exception) -> str:
    """The error for a log or a record; one that is not posemill's own is named by its type."""
    return str(error) if isinstance(error, PosemillError) else f"{type(error).__name__}: {error}"
