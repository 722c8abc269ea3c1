"""The part of the report that says how the images were judged: what passes and what does not, and images to look at."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, Run, SourceResult
from posemill.errors import PosemillError
from posemill.pictures.poses import Pose, from_openpose_json
from posemill.storage.run_documents import read_document
from posemill.storage.store import Store
from producer.exports.counts.poses_seen import PosesSeen
from producer.exports.report.judgements import OKS_BINS, Acceptance, JudgedImage, Judgements
from producer.exports.report.plots import histogram, svg
from producer.exports.report.pose_map import PoseMap
from producer.exports.samples.keypoints import placed
from producer.sheets.contact_sheet import embedded, picture_environment
from producer.sheets.skeletons import pose_overlay

MOST_PROMPTS = 12


def render_judgements(judgements: Judgements, store: Store, run: Run, *, with_clocks: bool) -> Markup | None:
    """None for a run whose images are not judged. `with_clocks`: device time is shown too."""
    if run.verify is None or not judgements.images.judged:
        return None
    prompts = sorted(judgements.by_prompt.items(), key=lambda pair: (pair[1].share, pair[0]))
    edges = [number / OKS_BINS for number in range(OKS_BINS + 1)]
    seconds = judgements.device_seconds / judgements.images.passed if with_clocks and judgements.images.passed else 0.0
    with tempfile.TemporaryDirectory(prefix="posemill-judged-") as name:
        tiles = _Tiles(store, run, Path(name))
        html = picture_environment().get_template("judged.html.j2").render(
            images=judgements.images,
            by_try=sorted(judgements.by_try.items()),
            by_prompt=prompts[:MOST_PROMPTS],
            more_prompts=max(0, len(prompts) - MOST_PROMPTS),
            reasons=judgements.reasons.most_common(),
            never=sum(1 for found in judgements.by_control.values() if not found.passed),
            controls=len(judgements.by_control),
            oks_plot=Markup(svg(histogram(judgements.oks, edges), "OKS of all images")) if any(judgements.oks) else "",
            seconds=seconds,
            worst=tiles.of(judgements.worst),
            borderline=tiles.of(judgements.borderline),
        )  # fmt: skip
    return Markup(html)


def cluster_shares(poses: PosesSeen, found: PoseMap, by_control: Mapping[str, Acceptance]) -> list[Acceptance]:
    """Of each cluster of the map, how many of its poses' images passed."""
    shares = [Acceptance() for _ in found.clusters]
    for name, cluster in zip(poses.kept, found.members, strict=True):
        one = by_control.get(name.partition("-")[0], Acceptance())
        shares[cluster].judged += one.judged
        shares[cluster].passed += one.passed
    return shares


class _Tiles:
    """Images with the pose that was wanted and the one that was found, read from storage."""

    def __init__(self, store: Store, run: Run, folder: Path) -> None:
        self._store, self._run, self._folder = store, run, folder

    def of(self, images: Sequence[JudgedImage]) -> list[dict[str, Any]]:
        """Those of the images that are still there."""
        return [tile for image in images if (tile := self._tile(image))]

    def _tile(self, image: JudgedImage) -> dict[str, Any] | None:
        item, judged = image.item, image.judged
        assert item.image is not None
        path = self._folder / item.id
        try:
            path.write_bytes(self._store.get(item.image.key))
            picture = embedded(path)
            wanted = self._wanted(image)
        except (PosemillError, OSError, msgspec.DecodeError):
            return None
        found = from_openpose_json(judged.found) if judged.found else None
        overlays = [pose_overlay(wanted, kind="wanted")] if wanted else []
        overlays += [pose_overlay(found, kind="thin")] if found else []
        verdict = judged.reason.replace("_", " ") or "passed"
        return {
            "picture": picture,
            "overlay": Markup("").join(overlays),
            "prompt": judged.prompt,
            "words": f"OKS {image.oks:.2f} · {verdict} · try {judged.try_number}",
        }

    def _wanted(self, image: JudgedImage) -> Pose | None:
        item, number = image.item, image.item.source_number
        if number is None:
            return None
        batch = number // self._run.slicing[Stage.DETECT].batch_size
        record = read_document(self._store, RunKeys(self._run.id).record(Stage.DETECT, batch), BatchRecord)
        source: SourceResult | None = next((one for one in record.sources if one.source_number == number), None)
        if source is None or source.pose is None:
            return None
        return placed(self._store.get(source.pose.key), source.size, (item.width, item.height)).pose
