"""The verify stage: every image is looked at, and one that is not right is made again, as long as it has tries left."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import (
    BatchRecord,
    BestTry,
    CheckSpec,
    Item,
    ItemResult,
    JudgedResult,
    Outcome,
    Run,
    SourceResult,
    VerifySpec,
)
from posemill.errors import BadInput, NotFound, PosemillError, RecipeError, RunFault, TransientError
from posemill.pictures.poses import Person, Pose, from_openpose_json, to_openpose_json
from posemill.pictures.shapes import canvas_for
from posemill.storage.run_documents import read_record
from posemill.storage.store import Store, get_unchanged
from workers.batches.plan_reader import Slices
from workers.images.content import Content
from workers.judging.check import Check, ItemFacts, Judgement
from workers.models.hub_models import HubModels
from workers.models.provenance import versions

LIBRARIES = ("torch", "transformers", "rtmlib", "opencv-python-headless", "numpy", "scipy", "Pillow")


class ImageInProgress(msgspec.Struct, kw_only=True):
    """An image on its way through the stage."""

    item: Item
    made: ItemResult
    result: JudgedResult | None = None  # known already: kept from before, or there is no image
    content: Content | None = None
    wanted: Pose | None = None
    judgements: dict[str, Judgement] = {}  # by check
    seconds: float = 0.0


class JudgeWork:
    """Judges images; the checks' models stay loaded between batches."""

    stage = Stage.VERIFY

    def __init__(
        self,
        store: Store,
        slices: Slices,
        *,
        load_check: Callable[[CheckSpec, Mapping[str, str]], Check],
        models: HubModels | None = None,
    ) -> None:
        """`load_check`: with the commits of the models; `models`: of checks whose networks are on the Hub."""
        self._store = store
        self._slices = slices
        self._load_check = load_check
        self._models = models
        self._checks: dict[bytes, tuple[str, Check]] = {}  # by specification and commits; each with its name

    @property
    def resident(self) -> list[str]:
        """The checks in memory."""
        return [name for name, _ in list(self._checks.values())]

    def pinned(self, run: Run, batch: int) -> Run:
        """The run with one commit for each model that its checks load. Raises HubAway and RunFault."""
        return self._models.pinned_verify(run) if self._models is not None else run

    def fetch(self, run: Run, loaded: list[ImageInProgress] | None, watch: Callable[[], None]) -> None:
        """Fetch the checks' networks, and the weights of the detectors that look again."""
        if self._models is not None:
            self._models.fetch_verify(_verify(run), watch)

    def load(self, run: Run, batch: int, kept: BatchRecord | None, row: int | None = None) -> list[ImageInProgress]:
        """Read the batch's images, and the poses that they should show."""
        known = {one.id: one for one in (kept.judged if kept else []) if one.outcome is not Outcome.FAILED}
        record = read_record(self._store, run.id, Stage.GENERATE, batch)
        if record is None:
            key = RunKeys(run.id).record(Stage.GENERATE, batch)
            raise TransientError(f"{key} is not written, so its images cannot be judged")
        rows = list(zip(self._slices.items(run, batch), record.items, strict=True))
        wanted = rows if row is None else rows[row : row + 1]
        numbers = {made.source_number for _, made in wanted if made.image and made.source_number is not None}
        sources = self._slices.detected(run, numbers) if numbers else {}
        return [self._loaded(run, item, made, known.get(item.id), sources) for item, made in wanted]

    def compute(self, run: Run, loaded: list[ImageInProgress]) -> list[ImageInProgress]:
        """Check by check, each for all images together that passed those before."""
        for spec in _verify(run).checks:
            open_ones = [entry for entry in loaded if entry.result is None and not _reason(entry)]
            if not open_ones:
                break
            check = self._check(spec, _verify(run).commits)
            for entry in open_ones:
                assert entry.content is not None
                begun = time.monotonic()
                facts = ItemFacts(prompt=entry.item.prompt, pose=entry.wanted)
                entry.judgements = entry.judgements | {spec.check: check.judge(entry.content.picture, facts)}
                entry.seconds += time.monotonic() - begun
        for entry in loaded:
            entry.content = None
        return loaded

    def save(self, run: Run, computed: list[ImageInProgress]) -> list[JudgedResult]:
        """Nothing is written but the record."""
        tries = _verify(run).tries
        return [entry.result or _judged(entry, tries) for entry in computed]

    def failed(self, run: Run, batch: int, error: PosemillError) -> list[JudgedResult]:
        """A failed result for every image of the batch."""
        return [_failed(item, error) for item in self._slices.items(run, batch)]

    def recorded(self, run: Run, record: BatchRecord) -> None:
        """Remove the images that did not pass, where the recipe does not want them kept."""
        if _verify(run).keep_rejects:
            return
        refused = {one.id for one in record.judged if one.best is not None}
        made = read_record(self._store, run.id, Stage.GENERATE, record.batch) if refused else None
        for item in made.items if made else []:
            if item.id in refused and item.image and item.image.key.startswith(RunKeys(run.id).images):
                self._store.delete(item.image.key)

    def made_with(self, run: Run) -> dict[str, Any]:
        """The checks' settings and the libraries' versions."""
        return {"verify": msgspec.to_builtins(_verify(run)), "versions": versions(*LIBRARIES)}

    def unload(self) -> None:
        """Drop every check."""
        self._checks.clear()

    def _check(self, spec: CheckSpec, commits: Mapping[str, str]) -> Check:
        key = msgspec.json.encode((spec, commits), order="deterministic")
        if key not in self._checks:
            try:
                self._checks[key] = spec.check, self._load_check(spec, commits)
            except RecipeError as error:
                raise RunFault(str(error)) from error
        return self._checks[key][1]

    def _loaded(
        self, run: Run, item: Item, made: ItemResult, known: JudgedResult | None, sources: dict[int, SourceResult]
    ) -> ImageInProgress:
        entry = ImageInProgress(item=item, made=made, result=known)
        if known:
            return entry
        if made.image is None:
            entry.result = _passed_on(item, made)
            return entry
        source = sources.get(made.source_number) if made.source_number is not None else None
        try:
            content = get_unchanged(self._store, made.image.key, made.image.sha256)
            entry.content = Content(content)
            entry.content.picture  # noqa: B018  # decoded by this thread, while the device has other work
            entry.wanted = self._wanted_pose(made, source)
        except (NotFound, BadInput) as error:
            entry.result = _failed(item, error, made)
        return entry

    def _wanted_pose(self, made: ItemResult, source: SourceResult | None) -> Pose | None:
        """The control's pose, on the canvas on which the control image was fitted to the picture's shape."""
        if source is None or source.pose is None:
            return None
        content = get_unchanged(self._store, source.pose.key, source.pose.sha256)
        return on_canvas(from_openpose_json(msgspec.json.decode(content)), source.size, (made.width, made.height))


def on_canvas(pose: Pose, control: tuple[int, int], size: tuple[int, int]) -> Pose:
    """A pose whose control image, of that size, was put in the middle of a canvas of the picture's shape."""
    canvas, place = canvas_for(control, size)

    def moved(points: Any) -> Any:
        if points is None:
            return None
        return tuple(
            None if point is None else (
                (point[0] * control[0] + place[0]) / canvas[0],
                (point[1] * control[1] + place[1]) / canvas[1],
                point[2],
            )
            for point in points
        )  # fmt: skip

    people = tuple(
        Person(
            body=moved(person.body),
            hand_left=moved(person.hand_left),
            hand_right=moved(person.hand_right),
            face=moved(person.face),
        )
        for person in pose.people
    )
    return Pose(width=size[0], height=size[1], people=people)


def _verify(run: Run) -> VerifySpec:
    assert run.verify is not None
    return run.verify


def _reason(entry: ImageInProgress) -> str:
    """Of the first check that did not pass."""
    return next((one.reason or name for name, one in entry.judgements.items() if not one.passed), "")


def _judged(entry: ImageInProgress, tries: int) -> JudgedResult:
    reason = _reason(entry)
    outcome, best = Outcome.DONE, None
    if reason:
        outcome = Outcome.AGAIN if entry.item.try_number < tries else Outcome.REJECTED
        best = _best(entry)
    found = next((one.found_keypoints for one in entry.judgements.values() if one.found_keypoints is not None), None)
    pose = Pose(width=entry.made.width, height=entry.made.height, people=found) if found is not None else None
    return JudgedResult(
        **_about(entry.item, entry.made),
        outcome=outcome,
        reason=reason,
        figures={name: _rounded(one.figures) for name, one in entry.judgements.items()},
        found=to_openpose_json(pose) if pose else None,
        seconds=round(entry.seconds, 4),
        best=best,
    )


def _best(entry: ImageInProgress) -> BestTry:
    """This try, unless one before it passed more checks, or came nearer by the check that refused both."""
    passed = sum(one.passed for one in entry.judgements.values())
    (refused,) = (one for one in entry.judgements.values() if not one.passed)
    this = BestTry(
        id=entry.item.id, try_number=entry.item.try_number, passed=passed, score=round(float(refused.score), 4)
    )
    before = entry.item.best
    return this if before is None or (this.passed, this.score) > (before.passed, before.score) else before


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in figures.items()}


def _passed_on(item: Item, made: ItemResult) -> JudgedResult:
    """There is no image to look at: the item's outcome is what it was."""
    return JudgedResult(**_about(item, made), outcome=made.outcome, reason=made.reason, message=made.message)


def _failed(item: Item, error: PosemillError, made: ItemResult | None = None) -> JudgedResult:
    return JudgedResult(**_about(item, made), outcome=Outcome.FAILED, reason=error.code, message=str(error))


def _about(item: Item, made: ItemResult | None) -> dict[str, Any]:
    return {
        "id": item.id,
        "wanted": item.wanted,
        "try_number": item.try_number,
        "prompt": item.prompt,
        "seed": item.seed,
        "source_number": item.source_number,
        "source_name": made.source_name if made else "",
    }
