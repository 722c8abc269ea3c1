"""What `from posemill import …` offers of this package: the command line's verbs as functions.

Each takes `settings`; without it they are those of the commands: the environment's (`POSEMILL_REDIS_URL`,
`POSEMILL_STORE` and boto3's own), and where it names neither, the services of `posemill up` in this folder or
`POSEMILL_DIR`.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from posemill.errors import BadInput
from posemill.settings import Settings
from posemill.storage.store import open_store
from producer.cli.local_settings import local_settings
from producer.exports.dataset import LICENCE, Exported, export_run
from producer.exports.samples.options import Form, ImageFormat, Options
from producer.local.preview import Preview, preview
from producer.runs import checking
from producer.runs.checking import Proof
from producer.runs.handle import RunHandle, Status, open_handle
from producer.submitting import judging, submission
from producer.submitting.submission import Progress

__all__ = [
    "Exported", "Preview", "Proof", "RunHandle", "Status", "check", "export", "local_settings", "open_run", "preview",
    "submit", "verify",
]  # fmt: skip

Choice = TypeVar("Choice", bound=StrEnum)


def submit(
    recipe: str | Path | dict[str, Any],
    *,
    run_id: str | None = None,
    overrides: tuple[str, ...] = (),
    strict: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> RunHandle:
    """Submit a recipe and give a handle on its run. Safe to repeat with the same run id.

    With the run id of an earlier submission of the same recipe nothing is added: an unfinished submission goes on,
    a finished one is found again, and a ledger that Redis lost is rebuilt.

    Args:
        recipe: A YAML file, or a mapping with the same keys.
        run_id: The run's name; a new one is made up without it.
        overrides: `KEY=VALUE` each, in place of what the recipe says.
        strict: Read all rows before anything is written, and refuse the whole run at the first bad one.
        settings: Where Redis and storage are; by default as the commands find them.
        progress: Called with the plan so far, after each shard.

    Returns:
        A handle to watch the run, wait for it and steer it. `handle.changes` says what the sources of a finished
        submission hold by now that its run does not: the run stays as it was planned.

    Raises:
        RecipeError: The recipe cannot be run as it is written.
        RowError: A row cannot be used (`strict` alone; else it is counted as refused).
        RunConflict: The run id belongs to another recipe, or its sources have changed since (`strict`, or an unfinished
            submission).
        ServiceError: Redis or storage cannot be reached, or is not safe to use.
    """
    return submission.submit(
        recipe,
        run_id=run_id,
        overrides=overrides,
        strict=strict,
        settings=settings or local_settings(),
        progress=progress,
    )


def verify(
    run_id: str,
    *,
    checks: Sequence[dict[str, Any]] = (),
    retry: bool = False,
    tries: int | None = None,
    new_run_id: str | None = None,
    settings: Settings | None = None,
) -> RunHandle:
    """Judge the images of a run that is over, in a run of its own. Safe to repeat with the same checks.

    The images are looked at where they lie; the run that made them stays as it is, and cannot be deleted before the
    one that judges them.

    Args:
        run_id: The run whose images are judged: the last try of each item.
        checks: As in a recipe's `verify.checks`: `{"check": "pose", "min_oks": 0.7}`; by default the run's own, or
            `pose`.
        retry: Make what is rejected again; without it no image is made.
        tries: With `retry`, images for each item that is rejected, counting the one that there is; 3 by default.
        new_run_id: The name of the run that judges; by default the run's with a digest of the checks.
        settings: Where Redis and storage are; by default as the commands find them.

    Returns:
        A handle on the run that judges.

    Raises:
        NotOver: The run has not ended.
        NotFound: There is no such run.
        RecipeError: There is no such check, or it has no such option.
        RunConflict: `new_run_id` belongs to another run.
        ServiceError: Redis or storage cannot be reached, or is not safe to use.
    """
    return judging.judge_run(
        run_id, checks=checks, retry=retry, tries=tries, new_run_id=new_run_id, settings=settings or local_settings()
    )


def open_run(run_id: str, *, settings: Settings | None = None) -> RunHandle:
    """Open a run that was submitted before, here or elsewhere.

    Args:
        run_id: The run's name, as `submit` gave or took it.
        settings: Where Redis and storage are; by default as the commands find them.

    Returns:
        A handle to watch, wait for, pause, cancel, resume and retry the run. Nothing is asked of a server yet.

    Raises:
        BadInput: An address in the settings is wrong.
        NotFound: By the handle's methods, when there is no such run.
    """
    return open_handle(run_id, settings or local_settings())


def check(run_id: str, *, deep: bool = False, settings: Settings | None = None) -> Proof:
    """Prove that every planned row of a run has exactly one outcome, and everything done its object, unchanged.

    Args:
        run_id: The run's name.
        deep: Read every object and digest it again; without it, sizes and ETags are compared.
        settings: Where storage is; by default as the commands find it. Redis is not needed.

    Returns:
        The proof: counts by outcome and every fault found; `proof.complete` says whether there is none.

    Raises:
        NotFound: There is no such run, or its bucket is gone.
        RunConflict: Its submission has not ended.
        ServiceError: Storage cannot be reached.
    """
    store = open_store((settings or local_settings()).store, many_reads=True)
    return checking.check(store, run_id, deep=deep)


def export(
    run_id: str,
    destination: str | Path,
    *,
    format: Literal["imagefolder", "parquet", "webdataset", "fill50k", "preference"] = "imagefolder",
    shard_size: int = 1000,
    image_format: Literal["png", "jpeg", "webp"] = "png",
    quality: int = 95,
    where: str = "",
    validation: float = 0.0,
    test: float = 0.0,
    drop_near_duplicates: bool = False,
    relabel: bool = False,
    captions: bool = False,
    with_source: bool = False,
    with_provenance: bool = False,
    licence: str = LICENCE,
    watch: bool = False,
    settings: Settings | None = None,
) -> Exported:
    """Write a run's images as a data set with card and report. Safe to repeat: what stands is kept.

    Args:
        run_id: The run's name.
        destination: A folder, or an `s3://` prefix.
        format: Layout of the data set.
        shard_size: Samples in a shard.
        image_format: Of images; control images are PNG.
        quality: Of JPEG and WebP, 1 to 100.
        where: Take only samples such as `people == 1 and score > 0.5`.
        validation: Share of the sources in the validation split, 0 to 1.
        test: Share of the sources in the test split, 0 to 1.
        drop_near_duplicates: Leave out an image that is nearly one taken before.
        relabel: Keypoints are those that a judge has found in the image, not the control's.
        captions: Texts are the manifest's captions, where it has them.
        with_source: Also write source images.
        with_provenance: Also say which worker made what, when, and where it is stored.
        licence: The data set's, by the Hub's name for it.
        watch: Export while the run goes on, and wait for its end.
        settings: Where storage is; by default as the commands find it. Redis is not needed.

    Returns:
        How many samples were written, left out and refused, and whether the run was over.

    Raises:
        BadInput: A choice cannot be, the destination holds something else, or `posemill[export]` is not installed.
        NotFound: There is no such run.
        ServiceError: Storage cannot be reached.
    """
    options = Options(
        form=_choice(Form, format, "format"),
        shard_size=shard_size,
        image_format=_choice(ImageFormat, image_format, "image_format"),
        quality=quality,
        where=where,
        validation=validation,
        test=test,
        drop_near_duplicates=drop_near_duplicates,
        relabel=relabel,
        captions=captions,
        with_source=with_source,
        with_provenance=with_provenance,
    )
    store = open_store((settings or local_settings()).store, many_reads=True)
    return export_run(store, run_id, destination, options, watch=watch, licence=licence)


def _choice(choices: type[Choice], word: str, name: str) -> Choice:
    try:
        return choices(word)
    except ValueError as error:
        raise BadInput(f"{name} {word!r} is none of {', '.join(choices)}") from error
