"""The detect stage: source image to control images and keypoints, each kept under its content's digest."""

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import msgspec

from posemill.catalogue.detectors import DETECTORS
from posemill.contract.identity import control_digest, sha256
from posemill.contract.keys import Stage
from posemill.contract.records import BatchRecord, ControlResult, Outcome, Rules, Run, Source, SourceResult
from posemill.contract.specs import DetectSpec
from posemill.errors import BadInput, NotFound, PosemillError, RecipeError, RunFault
from posemill.settings import Settings
from posemill.storage.store import Store
from workers.batches.plan_reader import Slices
from workers.detecting.control_store import ControlStore, Known
from workers.detecting.detectors import Detection, Detector, reject_reason
from workers.images.content import Content
from workers.images.source_bytes import read_source
from workers.models.provenance import struct_values, versions

KEPT_DETECTORS = 8  # loaded at once: those of a run with many controls
LIBRARIES = (
    "controlnet_aux", "torch", "transformers", "rtmlib", "onnxruntime", "opencv-python-headless", "numpy", "Pillow",
)  # fmt: skip


class Part(msgspec.Struct, kw_only=True):
    """One control of a source on its way through the stage."""

    spec: DetectSpec
    control: str  # digest
    known: Known | None = None  # the control image exists already
    detection: Detection | None = None


class Looked(msgspec.Struct, kw_only=True):
    """A source on its way through the stage."""

    number: int
    source: Source
    result: SourceResult | None = None  # known already: kept from before, or failed
    content: Content | None = None
    source_sha256: str = ""
    parts: list[Part] = []  # one for each control, in the run's order
    seconds: float = 0.0


class DetectWork:
    """Makes control images; the detectors stay loaded between batches."""

    stage = Stage.DETECT

    def __init__(
        self, store: Store, slices: Slices, settings: Settings, *, load_detector: Callable[[DetectSpec], Detector]
    ) -> None:
        self._store = store
        self._slices = slices
        self._settings = settings
        self._controls = ControlStore(store, png_compress_level=settings.png_compress_level)
        self._load_detector = load_detector
        self._detectors: OrderedDict[DetectSpec, Detector] = OrderedDict()

    @property
    def resident(self) -> list[str]:
        return [spec.detector for spec in list(self._detectors)]

    def load(self, run: Run, batch: int, kept: BatchRecord | None, row: int | None = None) -> list[Looked]:
        results = kept.sources if kept else []
        done = {result.source: result for result in results if result.outcome is not Outcome.FAILED}
        sources = list(self._slices.sources(run, batch).items())
        wanted = sources if row is None else sources[row : row + 1]
        return [self._load_source(run, number, source, done.get(number)) for number, source in wanted]

    def compute(self, run: Run, loaded: list[Looked]) -> list[Looked]:
        """Control by control, each for all sources together; a source that one of them rejects is left at that."""
        for place in range(len(run.detects)):
            together: dict[DetectSpec, list[Looked]] = defaultdict(list)
            for looked in loaded:
                if looked.result is None and looked.parts[place].known is None and not rejection(looked, run):
                    together[looked.parts[place].spec].append(looked)
            for spec, rows in together.items():
                self._detect(spec, place, rows)
        for looked in loaded:
            looked.content = None  # a decoded picture is large, and saving needs none
        return loaded

    def _detect(self, spec: DetectSpec, place: int, rows: list[Looked]) -> None:
        detector = self._detector(spec)
        begun = time.monotonic()
        detections = detector.detect([looked.content for looked in rows if looked.content])
        seconds = (time.monotonic() - begun) / len(rows)
        for looked, detection in zip(rows, detections, strict=True):
            looked.seconds += seconds
            if isinstance(detection, BadInput):
                looked.result = _failed(looked.number, looked.source, detection)
            else:
                looked.parts[place].detection = detection

    def save(self, run: Run, computed: list[Looked]) -> list[SourceResult]:
        return [looked.result or self._result(run, looked) for looked in computed]

    def failed(self, run: Run, batch: int, error: PosemillError) -> list[SourceResult]:
        sources = self._slices.sources(run, batch)
        return [_failed(number, source, error) for number, source in sources.items()]

    def made_with(self, run: Run) -> dict[str, Any]:
        return {"detects": [struct_values(spec) for spec in run.detects], "versions": versions(*LIBRARIES)}

    def unload(self) -> None:
        self._detectors.clear()

    def _detector(self, spec: DetectSpec) -> Detector:
        if spec not in self._detectors:
            if len(self._detectors) >= KEPT_DETECTORS:
                self._detectors.popitem(last=False)
            try:
                self._detectors[spec] = self._load_detector(spec)
            except RecipeError as error:
                raise RunFault(str(error)) from error
        self._detectors.move_to_end(spec)
        return self._detectors[spec]

    def _load_source(self, run: Run, number: int, source: Source, kept: SourceResult | None) -> Looked:
        looked = Looked(number=number, source=source, result=kept)
        if kept:
            return looked
        try:
            content = read_source(self._store, source, self._settings.hosts)
        except (NotFound, BadInput) as error:
            looked.result = _failed(number, source, error)
            return looked
        looked.content = Content(content, limit_pixels=run.limit_pixels)
        looked.source_sha256 = sha256(content)
        for wanted in run.detects:
            spec = spec_for(source, wanted)
            control = control_digest(looked.source_sha256, spec)
            looked.parts.append(Part(spec=spec, control=control, known=self._controls.known(control)))
        return looked

    def _result(self, run: Run, looked: Looked) -> SourceResult:
        made = [self._stored(part) for part in looked.parts if part.known or part.detection]
        place, reason = rejection(looked, run) or (0, "")
        posed = next((known for known in made if known.pose), None)
        people = posed.pose.people if posed and posed.pose else ()
        return SourceResult(
            source=looked.number,
            name=looked.source.name,
            outcome=Outcome.REJECTED if reason else Outcome.DONE,
            reason=reason,
            message=f"its {run.kinds[place]} control: {reason}" if reason and len(run.detects) > 1 else "",
            source_sha256=looked.source_sha256,
            people=len(people),
            score=round(sum(person.score for person in people) / max(1, len(people)), 4),
            controls=_control_results(run, looked, made),
            pose=posed.note if posed else None,
            seconds=round(looked.seconds, 4),
        )

    def _stored(self, part: Part) -> Known:
        if part.known:
            return part.known
        assert part.detection is not None
        return self._controls.write(part.control, part.detection, described(part.spec))


def described(spec: DetectSpec) -> str:
    """A detector's name with the version of the library that does its work."""
    library = DETECTORS[spec.detector].library
    return f"{spec.detector}, {library} {versions(library).get(library, '')}"


def rejection(looked: Looked, run: Run) -> tuple[int, str] | None:
    """The first control, by its place, that is known not to be usable, and why; None while there is none."""
    for place, part in enumerate(looked.parts):
        made = part.known or part.detection
        if made and (reason := why_unusable(made, run.rules)):
            return place, reason
    return None


def why_unusable(made: Known | Detection, rules: Rules) -> str:
    """Why a control image is not used, as a stable word; nothing when it is."""
    if made.pose is None:
        return made.reason
    return reject_reason(made.pose, min_people=rules.min_people, max_people=rules.max_people) or ""


def _control_results(run: Run, looked: Looked, made: list[Known]) -> list[ControlResult]:
    """What became of each control that was looked for, in the run's order."""
    kinds = [kind for kind, part in zip(run.kinds, looked.parts, strict=True) if part.known or part.detection]
    return [
        ControlResult(
            kind=kind,
            detector=known.detector,
            width=known.size[0],
            height=known.size[1],
            reason=why_unusable(known, run.rules),
            image=known.drawn,
        )
        for kind, known in zip(kinds, made, strict=True)
    ]


def spec_for(source: Source, spec: DetectSpec) -> DetectSpec:
    """A row's ready-made pose is drawn, whatever the run's detector; everything else is looked at."""
    if source.pose is None or spec.detector == "keypoints":
        return spec
    return msgspec.structs.replace(spec, detector="keypoints", weights=None)


def _failed(number: int, source: Source, error: PosemillError) -> SourceResult:
    return SourceResult(source=number, name=source.name, outcome=Outcome.FAILED, reason=error.code, message=str(error))
