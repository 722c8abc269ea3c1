"""`python -m workers.preview_process FOLDER`: a few sources' control images, made without Redis and storage."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from posemill.contract.records import Run, Source, decode, decode_lines
from posemill.contract.specs import DetectSpec
from posemill.errors import BadInput, PosemillError
from posemill.logs import set_up_logging
from posemill.pictures.preview_files import MADE, RUN, SOURCES, PreviewControl
from posemill.settings import load_settings
from workers.detecting.detect_work import spec_for, why_unusable
from workers.detecting.detectors import Detection, Detector, load_detector
from workers.images.content import Content
from workers.models.placement import choose_device


def make_preview(folder: Path, *, device: str) -> list[PreviewControl]:
    """Write every source's control images into the folder, and say what became of each."""
    run = decode((folder / RUN).read_bytes(), Run)
    sources = list(decode_lines((folder / SOURCES).read_bytes(), Source))
    contents = [
        Content((folder / (source.key or "")).read_bytes(), limit_pixels=run.limit_pixels) for source in sources
    ]
    return [
        made
        for place in range(len(run.detects))
        for made in _make_control(folder, run, place, sources, contents, device=device)
    ]


def _make_control(
    folder: Path, run: Run, place: int, sources: list[Source], contents: list[Content], *, device: str
) -> Iterator[PreviewControl]:
    """One control of all sources; each alone, so that its time is its own."""
    detectors: dict[DetectSpec, Detector] = {}
    for number, (source, content) in enumerate(zip(sources, contents, strict=True)):
        spec = spec_for(source, run.detects[place])
        if spec not in detectors:
            detectors[spec] = load_detector(spec, device=device)
        begun = time.monotonic()
        (found,) = detectors[spec].detect([content])
        made = _described(run, number, place, spec, found, time.monotonic() - begun)
        if isinstance(found, Detection) and not made.reason:
            found.control_image.save(folder / made.file)
        yield made


def _described(
    run: Run, number: int, place: int, spec: DetectSpec, found: Detection | BadInput, seconds: float
) -> PreviewControl:
    failed = isinstance(found, BadInput)
    return PreviewControl(
        source_number=number,
        control_number=place,
        kind=run.kinds[place],
        detector=spec.detector,
        reason=found.code if isinstance(found, BadInput) else why_unusable(found, run.rules),
        message=str(found) if failed else "",
        people=len(found.pose.people) if isinstance(found, Detection) and found.pose else None,
        seconds=round(seconds, 3),
    )


def main() -> int:
    """Make the control images that a preview asks for."""
    set_up_logging()
    folder = Path(sys.argv[1])
    try:
        made = make_preview(folder, device=choose_device(load_settings().device))
    except PosemillError as error:
        print(error, file=sys.stderr)
        return 3
    (folder / MADE).write_bytes(msgspec.json.Encoder().encode_lines(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
