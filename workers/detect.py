"""The detect stage: source image to control image and keypoints, each kept under its content's digest."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from posemill.errors import BadInput, NotFound, PosemillError, RecipeError, RunFault
from posemill.identity import control_digest, sha256
from posemill.names import Stage, control_key, pose_key
from posemill.poses import Pose, from_openpose_json, to_openpose_json
from posemill.records import BatchRecord, Outcome, Run, Source, SourceResult, StoredObject
from posemill.settings import Settings
from posemill.specs import DetectSpec
from posemill.storage import Store, get_unchanged
from posemill.web import fetch
from workers.detectors import Detection, Detector, reject_reason
from workers.pngs import encode_png
from workers.provenance import struct_values, versions
from workers.slices import Slices

KEPT_DETECTORS = 2  # loaded at once: one network, and the one that only draws
LIBRARIES = ("controlnet_aux", "torch", "opencv-python-headless", "numpy", "Pillow")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A control image and its keypoints as they are stored."""

    pose: Pose
    size: tuple[int, int]  # width and height of the control image
    detector: str  # that drew it, with the library's version
    keypoints: StoredObject
    drawn: StoredObject | None  # None: nobody to draw


class Looked(msgspec.Struct, kw_only=True):
    """A source on its way through the stage."""

    number: int
    source: Source
    result: SourceResult | None = None  # known already: kept from before, or failed
    content: bytes = b""
    source_sha256: str = ""
    control: str = ""  # digest
    known: Known | None = None  # the control image exists already
    detection: Detection | None = None
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
        self._load_detector = load_detector
        self._detectors: dict[DetectSpec, Detector] = {}

    def load(self, run: Run, batch: int, kept: BatchRecord | None) -> list[Looked]:
        results = kept.sources if kept else []
        done = {result.source: result for result in results if result.outcome is not Outcome.FAILED}
        sources = self._slices.sources(run, batch)
        return [self._load_source(run, number, source, done.get(number)) for number, source in sources.items()]

    def compute(self, run: Run, loaded: list[Looked]) -> list[Looked]:
        together: dict[DetectSpec, list[Looked]] = defaultdict(list)
        for looked in loaded:
            if not (looked.result or looked.known):
                together[spec_for(looked.source, run.detect)].append(looked)
        for spec, rows in together.items():
            self._detect(spec, rows)
        return loaded

    def _detect(self, spec: DetectSpec, rows: list[Looked]) -> None:
        detector = self._detector(spec)
        begun = time.monotonic()
        detections = detector.detect([looked.content for looked in rows])
        seconds = (time.monotonic() - begun) / len(rows)
        for looked, detection in zip(rows, detections, strict=True):
            looked.seconds = seconds
            if isinstance(detection, BadInput):
                looked.result = _failed(looked.number, looked.source, detection)
            else:
                looked.detection = detection

    def save(self, run: Run, computed: list[Looked]) -> list[SourceResult]:
        return [looked.result or self._result(run, looked) for looked in computed]

    def failed(self, run: Run, batch: int, error: PosemillError) -> list[SourceResult]:
        sources = self._slices.sources(run, batch)
        return [_failed(number, source, error) for number, source in sources.items()]

    def made_with(self, run: Run) -> dict[str, Any]:
        return {"detect": struct_values(run.detect), "versions": versions(*LIBRARIES)}

    def _detector(self, spec: DetectSpec) -> Detector:
        if spec not in self._detectors:
            if len(self._detectors) >= KEPT_DETECTORS:
                self._detectors.clear()
            try:
                self._detectors[spec] = self._load_detector(spec)
            except RecipeError as error:
                raise RunFault(str(error)) from error
        return self._detectors[spec]

    def _described(self, source: Source, run: Run) -> str:
        library = versions("controlnet_aux").get("controlnet_aux", "")
        return f"{spec_for(source, run.detect).detector}, controlnet_aux {library}"

    def _load_source(self, run: Run, number: int, source: Source, kept: SourceResult | None) -> Looked:
        looked = Looked(number=number, source=source, result=kept)
        if kept:
            return looked
        try:
            looked.content = read_source(self._store, source, self._settings.hosts)
        except (NotFound, BadInput) as error:
            looked.result = _failed(number, source, error)
            return looked
        looked.source_sha256 = sha256(looked.content)
        looked.control = control_digest(looked.source_sha256, spec_for(source, run.detect))
        looked.known = self._known(looked.control)
        return looked

    def _known(self, control: str) -> Known | None:
        """What an earlier batch, of this or another run, made of the same bytes."""
        try:
            content = self._store.get(pose_key(control))
        except NotFound:
            return None
        keypoints, drawn = self._store.head(pose_key(control)), self._store.head(control_key(control))
        document = msgspec.json.decode(content)
        pose = from_openpose_json(document)
        if keypoints is None or (pose.people and drawn is None):
            return None
        size = (document.get("control_width", 0), document.get("control_height", 0))
        detector = document.get("detector", "")
        return Known(pose=pose, size=size, detector=detector, keypoints=keypoints, drawn=drawn)

    def _write(self, control: str, detection: Detection, detector: str) -> Known:
        """Store the control image, then its keypoints. Nobody in the picture: keypoints alone, no black image."""
        pose, size, drawn = detection.pose, detection.control.size, None
        if pose.people:
            content = encode_png(detection.control, compress_level=self._settings.png_compress_level)
            drawn, _ = self._store.put_if_absent(control_key(control), content, content_type="image/png")
        made = {"control_width": size[0], "control_height": size[1], "detector": detector}
        document = to_openpose_json(pose) | made
        keypoints, _ = self._store.put_if_absent(
            pose_key(control), msgspec.json.encode(document), content_type="application/json"
        )
        return Known(pose=pose, size=size, detector=detector, keypoints=keypoints, drawn=drawn)

    def _result(self, run: Run, looked: Looked) -> SourceResult:
        known = looked.known
        if known is None:
            assert looked.detection is not None
            known = self._write(looked.control, looked.detection, self._described(looked.source, run))
        people = known.pose.people
        reason = reject_reason(known.pose, min_people=run.rules.min_people, max_people=run.rules.max_people)
        return SourceResult(
            source=looked.number,
            name=looked.source.name,
            outcome=Outcome.REJECTED if reason else Outcome.DONE,
            reason=reason or "",
            source_sha256=looked.source_sha256,
            width=known.size[0],
            height=known.size[1],
            people=len(people),
            score=round(sum(person.score for person in people) / max(1, len(people)), 4),
            detector=known.detector,
            control=known.drawn,
            pose=known.keypoints,
            seconds=round(looked.seconds, 4),
        )


def spec_for(source: Source, spec: DetectSpec) -> DetectSpec:
    """A row's ready-made pose is drawn, whatever the run's detector; everything else is looked at."""
    if source.pose is None or spec.detector == "keypoints":
        return spec
    return msgspec.structs.replace(spec, detector="keypoints", weights=None)


def read_source(store: Store, source: Source, allowed_hosts: Sequence[str]) -> bytes:
    """A source's bytes. Raises NotFound when the object is gone, ChangedObject when it is another one."""
    if source.pose is not None:
        return msgspec.json.encode(source.pose, order="deterministic")
    if source.key:
        return get_unchanged(store, source.key, source.identity)
    uri = source.uri or ""
    return store.get_uri(uri) if uri.startswith("s3://") else fetch(uri, allowed_hosts)


def _failed(number: int, source: Source, error: PosemillError) -> SourceResult:
    return SourceResult(source=number, name=source.name, outcome=Outcome.FAILED, reason=error.code, message=str(error))
