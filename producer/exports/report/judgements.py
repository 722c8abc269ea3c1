"""What the judges said of a run's images, counted as they go by: acceptance, OKS, and the images to look at."""

import heapq
from collections import Counter
from typing import Any

import msgspec

from posemill.contract.records import ItemResult, JudgedResult, Outcome, VerifySpec
from producer.exports.counts.statistics import MOST_KINDS, OTHERS
from producer.exports.samples.controls import control_name
from producer.exports.samples.onlooker import Onlooker
from producer.exports.samples.reading import Sample, oks_of

OKS_BINS = 20  # of 0..1
MOST_LOOKED_AT = 10  # worst ones, and as many borderline ones
MOST_CONTROLS = 4000  # whose acceptance is counted by itself, the first to come


class JudgedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is worth a look."""

    item: ItemResult
    judged: JudgedResult
    oks: float


class Acceptance(msgspec.Struct, kw_only=True):
    """Of so many images so many passed."""

    judged: int = 0
    passed: int = 0

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.passed / self.judged if self.judged else 0.0


class Judgements(Onlooker):
    """Of a fixed size, however many images there are."""

    def __init__(self, verify: VerifySpec | None) -> None:
        self.images = Acceptance()
        self.by_try: dict[int, Acceptance] = {}
        self.by_prompt: dict[str, Acceptance] = {}
        self.by_control: dict[str, Acceptance] = {}  # by the name that poses are counted by
        self.oks = [0] * OKS_BINS  # of images whose poses were compared
        self.reasons: Counter[str] = Counter()
        self.device_seconds = 0.0
        self._threshold = _threshold(verify)
        self._worst: list[tuple[float, str, JudgedImage]] = []
        self._borderline: list[tuple[float, str, JudgedImage]] = []

    def taken(self, sample: Sample, row: dict[str, Any], shard: int) -> None:
        """An image that passed, and that the export holds."""
        if sample.judged:
            self._add(sample.item, sample.judged)

    def left_out(self, item: ItemResult, judged: JudgedResult | None = None) -> None:
        """One that did not pass, or that the filter leaves out."""
        if judged:
            self._add(item, judged)

    def again(self, item: ItemResult, judged: JudgedResult) -> None:
        """One that was made again."""
        self._add(item, judged)

    @property
    def worst(self) -> list[JudgedImage]:
        """Those with the least OKS, the worst first."""
        return [image for _, _, image in sorted(self._worst, key=lambda one: (-one[0], one[1]))]

    @property
    def borderline(self) -> list[JudgedImage]:
        """Those whose OKS is nearest to the threshold, by their OKS."""
        return sorted((image for _, _, image in self._borderline), key=lambda image: (image.oks, image.item.id))

    def _add(self, item: ItemResult, judged: JudgedResult) -> None:
        if not judged.figures:
            return  # nobody looked at it: there is no image
        passed = judged.outcome is Outcome.DONE
        prompt = judged.prompt if judged.prompt in self.by_prompt or len(self.by_prompt) < MOST_KINDS else OTHERS
        counted = [self.images, self.by_try.setdefault(judged.try_number, Acceptance())]
        counted.append(self.by_prompt.setdefault(prompt, Acceptance()))
        name = control_name(item.control_keys[0]) if item.control_keys else ""
        if name in self.by_control or len(self.by_control) < MOST_CONTROLS:
            counted.append(self.by_control.setdefault(name, Acceptance()))
        for one in counted:
            one.judged += 1
            one.passed += passed
        if not passed:
            self.reasons[judged.reason] += 1
        self.device_seconds += item.seconds
        if "oks_mean" in judged.figures.get("pose", {}):
            self._look_at(item, judged)

    def _look_at(self, item: ItemResult, judged: JudgedResult) -> None:
        oks = oks_of(judged)
        self.oks[min(int(oks * OKS_BINS), OKS_BINS - 1)] += 1
        if item.image is None:
            return
        image = JudgedImage(item=item, judged=judged, oks=oks)
        least = float(judged.figures["pose"].get("oks_least", oks))
        _keep(self._worst, (-oks, item.id, image))
        _keep(self._borderline, (-abs(least - self._threshold), item.id, image))


def _keep(heap: list[tuple[float, str, JudgedImage]], entry: tuple[float, str, JudgedImage]) -> None:
    """The largest few."""
    if len(heap) < MOST_LOOKED_AT:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)


def _threshold(verify: VerifySpec | None) -> float:
    checks = verify.checks if verify else ()
    return next((float(one.options.get("min_oks") or 0) for one in checks if one.check == "pose"), 0.0)
