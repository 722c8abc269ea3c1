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
from workers.detecting.control_store import ControlStore, StoredControl
from workers.detecting.detectors import Detection, Detector, reject_reason
from workers.images.content import Content
from workers.images.source_bytes import read_source
from workers.models.hub_models import HubModels
from workers.models.provenance import struct_values, versions

KEPT_DETECTORS = 8  # loaded at once: those of a run with many controls
LIBRARIES = (
    "controlnet_aux", "torch", "transformers", "rtmlib", "onnxruntime", "opencv-python-headless", "numpy", "Pillow",
)  # fmt: skip


class ControlInProgress(msgspec.Struct, kw_only=True):
    """One control of a source on its way through the stage."""

    spec: DetectSpec
    digest: str  # of the control image
    stored: StoredControl | None = None  # the control image exists already
    detection: Detection | None = None


class SourceInProgress(msgspec.Struct, kw_only=True):
    """A source on its way through the stage."""

    number: int
    source: Source
    result: SourceResult | None = None  # known already: kept from before, or failed
    content: Content | None = None
    source_sha256: str = ""
    controls: list[ControlInProgress] = []  # one for each control, in the run's order
    seconds: float = 0.0


class DetectWork:
    """Makes control images; the detectors stay loaded between batches."""

    stage = Stage.DETECT

    def __init__(
        self,
        store: Store,
        slices: Slices,
        settings: Settings,
        *,
        load_detector: Callable[[DetectSpec], Detector],
        models: HubModels | None = None,
    ) -> None:
        """`models`: fetched before the device is taken; None where the loader needs none of the Hub."""
        self._store = store
        self._slices = slices
        self._settings = settings
        self._controls = ControlStore(store, png_compress_level=settings.png_compress_level)
        self._load_detector = load_detector
        self._models = models
        self._detectors: OrderedDict[DetectSpec, Detector] = OrderedDict()

    @property
    def resident(self) -> list[str]:
        """The detectors in memory."""
        return [spec.detector for spec in list(self._detectors)]

    def pinned(self, run: Run, batch: int) -> Run:
        """A commit for all weights, unless the batch holds ready-made poses alone."""
        if all(source.pose for source in self._slices.sources(run, batch).values()):
            return run
        return self._models.pinned_detects(run) if self._models else run

    def fetch(self, run: Run, loaded: list[SourceInProgress] | None, watch: Callable[[], None]) -> None:
        """Fetch the weights of the detectors that still have something to do."""
        specs = set(run.detects)
        if loaded is not None:
            controls = [control for entry in loaded if entry.result is None for control in entry.controls]
            specs = {control.spec for control in controls if control.stored is None}
        if self._models:
            self._models.fetch_detects(specs - set(self._detectors), watch)

    def load(self, run: Run, batch: int, kept: BatchRecord | None, row: int | None = None) -> list[SourceInProgress]:
        """Read the batch's sources and what is stored of their control images already."""
        results = kept.sources if kept else []
        done = {result.source_number: result for result in results if result.outcome is not Outcome.FAILED}
        sources = list(self._slices.sources(run, batch).items())
        wanted = sources if row is None else sources[row : row + 1]
        return [self._load_source(run, number, source, done.get(number)) for number, source in wanted]

    def compute(self, run: Run, loaded: list[SourceInProgress]) -> list[SourceInProgress]:
        """Control by control, each for all sources together; a source that one of them rejects is left at that."""
        for place in range(len(run.detects)):
            together: dict[DetectSpec, list[SourceInProgress]] = defaultdict(list)
            for entry in loaded:
                if entry.result is None and entry.controls[place].stored is None and not rejection(entry, run):
                    together[entry.controls[place].spec].append(entry)
            for spec, rows in together.items():
                self._detect(spec, place, rows)
        for entry in loaded:
            entry.content = None  # a decoded picture is large, and saving needs none
        return loaded

    def _detect(self, spec: DetectSpec, place: int, rows: list[SourceInProgress]) -> None:
        detector = self._detector(spec)
        begun = time.monotonic()
        detections = detector.detect([entry.content for entry in rows if entry.content])
        seconds = (time.monotonic() - begun) / len(rows)
        for entry, detection in zip(rows, detections, strict=True):
            entry.seconds += seconds
            if isinstance(detection, BadInput):
                entry.result = _failed(entry.number, entry.source, detection)
            else:
                entry.controls[place].detection = detection

    def save(self, run: Run, computed: list[SourceInProgress]) -> list[SourceResult]:
        """Write control images and notes; gives a result for every source."""
        return [entry.result or self._result(run, entry) for entry in computed]

    def failed(self, run: Run, batch: int, error: PosemillError) -> list[SourceResult]:
        """A failed result for every source of the batch."""
        sources = self._slices.sources(run, batch)
        return [_failed(number, source, error) for number, source in sources.items()]

    def recorded(self, run: Run, record: BatchRecord) -> None:
        """Nothing."""

    def made_with(self, run: Run) -> dict[str, Any]:
        """The detectors' settings and the libraries' versions."""
        return {"detects": [struct_values(spec) for spec in run.detects], "versions": versions(*LIBRARIES)}

    def unload(self) -> None:
        """Drop every detector."""
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

    def _load_source(self, run: Run, number: int, source: Source, kept: SourceResult | None) -> SourceInProgress:
        entry = SourceInProgress(number=number, source=source, result=kept)
        if kept:
            return entry
        try:
            content = read_source(self._store, source, self._settings.hosts)
        except (NotFound, BadInput) as error:
            entry.result = _failed(number, source, error)
            return entry
        entry.content = Content(content, limit_pixels=run.limit_pixels)
        entry.source_sha256 = sha256(content)
        for wanted in run.detects:
            spec = spec_for(source, wanted)
            digest = control_digest(entry.source_sha256, spec)
            entry.controls.append(ControlInProgress(spec=spec, digest=digest, stored=self._controls.known(digest)))
        return entry

    def _result(self, run: Run, entry: SourceInProgress) -> SourceResult:
        made = [self._stored(control) for control in entry.controls if control.stored or control.detection]
        place, reason = rejection(entry, run) or (0, "")
        posed = next((known for known in made if known.pose), None)
        people = posed.pose.people if posed and posed.pose else ()
        return SourceResult(
            source_number=entry.number,
            name=entry.source.name,
            outcome=Outcome.REJECTED if reason else Outcome.DONE,
            reason=reason,
            message=f"its {run.kinds[place]} control: {reason}" if reason and len(run.detects) > 1 else "",
            source_sha256=entry.source_sha256,
            people=len(people),
            score=round(sum(person.score for person in people) / max(1, len(people)), 4),
            controls=_control_results(run, entry, made),
            pose=posed.note if posed else None,
            seconds=round(entry.seconds, 4),
        )

    def _stored(self, control: ControlInProgress) -> StoredControl:
        if control.stored:
            return control.stored
        assert control.detection is not None
        return self._controls.write(control.digest, control.detection, described(control.spec))


def described(spec: DetectSpec) -> str:
    """A detector's name with the version of the library that does its work."""
    library = DETECTORS[spec.detector].library
    return f"{spec.detector}, {library} {versions(library).get(library, '')}"


def rejection(entry: SourceInProgress, run: Run) -> tuple[int, str] | None:
    """The first control, by its place, that is known not to be usable, and why; None while there is none."""
    for place, control in enumerate(entry.controls):
        made = control.stored or control.detection
        if made and (reason := why_unusable(made, run.rules)):
            return place, reason
    return None


def why_unusable(made: StoredControl | Detection, rules: Rules) -> str:
    """Why a control image is not used, as a stable word; nothing when it is."""
    if made.pose is None:
        return made.reason
    return reject_reason(made.pose, min_people=rules.min_people, max_people=rules.max_people) or ""


def _control_results(run: Run, entry: SourceInProgress, made: list[StoredControl]) -> list[ControlResult]:
    """What became of each control that was looked for, in the run's order."""
    kinds = [
        kind for kind, control in zip(run.kinds, entry.controls, strict=True) if control.stored or control.detection
    ]
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
    return SourceResult(
        source_number=number, name=source.name, outcome=Outcome.FAILED, reason=error.code, message=str(error)
    )
