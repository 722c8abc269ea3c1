"""The generate stage: control images and prompts to pictures, a pipeline call for each size in a batch."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, Item, ItemResult, Outcome, Run, SourceResult
from posemill.contract.specs import GenerateSpec
from posemill.errors import BadInput, NotFound, OutOfMemory, PosemillError
from posemill.pictures.decoding import is_black
from posemill.pictures.hashes import perceptual_hash
from posemill.pictures.shapes import fitted
from posemill.settings import Settings
from posemill.storage.store import Store
from workers.batches.plan_reader import Slices
from workers.generating.control_images import ControlImages
from workers.generating.fitting import FittingSizes
from workers.generating.kept_pipelines import KeptPipelines
from workers.generating.pipeline_calls import Call, Pictures, Pipeline
from workers.images.pngs import encode_png, image_texts, to_image
from workers.images.sizes import picture_size
from workers.images.webps import encode_webp
from workers.models.hub_models import HubModels
from workers.models.provenance import struct_values, versions

log = logging.getLogger(__name__)

LIBRARIES = ("diffusers", "transformers", "torch", "accelerate", "xformers", "numpy", "Pillow")
UPLOADS = 8  # side by side, for each batch


class ItemInProgress(msgspec.Struct, kw_only=True):
    """An item on its way through the stage."""

    item: Item
    source: SourceResult | None = None
    result: ItemResult | None = None  # known already: kept from before, or nothing to draw from
    controls: list[Image.Image] = []  # one for each ControlNet
    control_keys: list[str] = []
    size: tuple[int, int] = (0, 0)
    slot: int = 0  # its place among the images of its size that the batch makes, ...
    slots: int = 1  # ... and how many they are: the shape of the call, also where the row is made alone
    pixels: NDArray[np.float32] | None = None
    unsafe: bool = False
    truncated: bool = False
    batch_size: int = 0
    seconds: float = 0.0


class GenerateWork:
    """Makes pictures; the pipeline stays loaded between batches."""

    stage = Stage.GENERATE

    def __init__(
        self,
        store: Store,
        slices: Slices,
        settings: Settings,
        *,
        load_pipeline: Callable[[GenerateSpec], Pipeline],
        models: HubModels | None = None,
        fitting: FittingSizes | None = None,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        """`models`: fetched before the device is taken; None where the loader needs none of the Hub."""
        self._store = store
        self._slices = slices
        self._settings = settings
        self._pipelines = KeptPipelines(load_pipeline, free_bytes=free_bytes)
        self._fitting = fitting or FittingSizes()
        self._models = models

    @property
    def resident(self) -> list[str]:
        """The models in memory, by the names that recipes use."""
        return self._pipelines.names

    def pinned(self, run: Run, batch: int) -> Run:
        """A commit for every model."""
        return self._models.pinned_generate(run) if self._models else run

    def fetch(self, run: Run, loaded: list[ItemInProgress] | None, watch: Callable[[], None]) -> None:
        """Fetch the models, unless nothing is to be made."""
        is_wanted = loaded is None or any(entry.result is None for entry in loaded)
        if self._models and is_wanted and self._pipelines.get(run.generate) is None:
            self._models.fetch_generate(run.generate, watch)

    def load(self, run: Run, batch: int, kept: BatchRecord | None, row: int | None = None) -> list[ItemInProgress]:
        """Read the batch's items, and the control images of those that are to be made."""
        results = kept.items if kept else []
        done = {result.id: result for result in results if result.outcome is Outcome.DONE}
        items = self._slices.items(run, batch)
        numbers = {item.source_number for item in items if item.source_number is not None and item.id not in done}
        sources = self._slices.detected(run, numbers) if numbers else {}
        wanted = [
            ItemInProgress(item=item, source=_of(sources, item.source_number), result=done.get(item.id))
            for item in items
        ]
        images = ControlImages(self._store, self._settings.hosts, limit_pixels=run.limit_pixels)
        if row is not None:
            _give_slots(run, wanted)
            wanted = wanted[row : row + 1]
        for entry in wanted:
            _load_controls(run, entry, images)
        if row is None:
            _give_slots(run, wanted)
        return wanted

    def compute(self, run: Run, loaded: list[ItemInProgress]) -> list[ItemInProgress]:
        """Make the pictures, a call or more for each size."""
        groups: dict[tuple[int, int], list[ItemInProgress]] = defaultdict(list)
        for entry in loaded:
            if entry.result is None:
                groups[entry.size].append(entry)
        for size, group in groups.items():
            self._compute_group(run, size, group)
        return loaded

    def save(self, run: Run, computed: list[ItemInProgress]) -> list[ItemResult]:
        """Encode and upload side by side; gives a result for every item."""
        made_with = self.made_with(run)
        with ThreadPoolExecutor(UPLOADS) as pool:
            return list(pool.map(lambda entry: entry.result or self._save_item(run, entry, made_with), computed))

    def failed(self, run: Run, batch: int, error: PosemillError) -> list[ItemResult]:
        """A failed result for every item of the batch."""
        return [_without_image(item, Outcome.FAILED, error.code, str(error)) for item in self._slices.items(run, batch)]

    def recorded(self, run: Run, record: BatchRecord) -> None:
        """Nothing."""

    def made_with(self, run: Run) -> dict[str, Any]:
        """The recipe's settings, device, dtype and the libraries' versions."""
        pipeline = self._pipelines.get(run.generate)
        return {
            "generate": struct_values(run.generate),
            "detects": [struct_values(spec) for spec in run.detects],
            **(pipeline.made_with if pipeline else {}),
            "batch_size": run.slicing[Stage.GENERATE].batch_size,
            "versions": versions(*LIBRARIES),
        }

    def unload(self) -> None:
        """Drop every pipeline."""
        self._pipelines.clear()

    def _compute_group(self, run: Run, size: tuple[int, int], group: list[ItemInProgress]) -> None:
        """Make a group's pictures in calls as large as fit; a call that does not fit is halved.

        A call has the shape and the places that the whole batch gives it, so that a row made alone has the same bytes.
        """
        spec, planned = run.generate, run.slicing[Stage.GENERATE].batch_size
        most = self._fitting.most(spec, size) or max(planned, len(group))
        for number, part in sorted(_parts(group, most).items()):
            slots = min(most, part[0].slots - number * most)
            begun = time.monotonic()
            try:
                call = _call(part, size, places=[entry.slot - number * most for entry in part], slots=slots)
                pictures = self._pipelines.of(spec)(msgspec.structs.replace(call, fill_to=min(most, planned)), spec)
            except OutOfMemory:
                if not self._pipelines.drop_others(spec):
                    if slots == 1:
                        raise
                    fewer = slots // 2
                    self._fitting.note(spec, size, fewer)
                    log.warning("%d images of %s do not fit on the device; going on with %d", slots, size, fewer)
                self._compute_group(run, size, [entry for entry in group if entry.pixels is None])
                return
            _hand_out(pictures, part, [entry.slot - number * most for entry in part], time.monotonic() - begun)

    def _save_item(self, run: Run, entry: ItemInProgress, made_with: dict[str, Any]) -> ItemResult:
        item, pixels = entry.item, entry.pixels
        assert pixels is not None
        picture = picture_of(pixels)
        reason = unusable(picture, unsafe=entry.unsafe)
        if picture is None or reason:
            outcome = Outcome.REJECTED if reason == "unsafe" else Outcome.FAILED
            return _without_image(item, outcome, reason, UNUSABLE[reason], entry.source)
        detector = entry.source.detector if entry.source else ""
        texts = image_texts(item, run.generate, entry.size, {**made_with, "detector": detector})
        content = self._encode(run, picture, texts)
        key = RunKeys(run.id).image(item.id, run.image_format)
        image, created = self._store.put_if_absent(key, content, content_type=f"image/{run.image_format}")
        is_ours = created or image.sha256 == sha256(content)
        return ItemResult(
            id=item.id,
            outcome=Outcome.DONE,
            prompt=item.prompt,
            negative_prompt=item.negative_prompt,
            prompt_truncated=entry.truncated,
            seed=item.seed,
            source_number=item.source_number,
            source_name=entry.source.name if entry.source else (item.control_image.name if item.control_image else ""),
            control_keys=entry.control_keys,
            detector=detector,
            columns=item.columns,
            image=image,
            width=entry.size[0],
            height=entry.size[1],
            batch_size=entry.batch_size,
            seconds=round(entry.seconds, 4),
            perceptual_hash=f"{perceptual_hash(picture):016x}" if is_ours else "",
        )

    def _encode(self, run: Run, image: Image.Image, texts: dict[str, str]) -> bytes:
        if run.image_format == "webp":
            return encode_webp(image, texts=texts)
        return encode_png(image, compress_level=self._settings.png_compress_level, texts=texts)


UNUSABLE = {
    "nan": "the picture has values that are not numbers; try POSEMILL_DTYPE=float32 or another VAE",
    "black": "the picture is black; try POSEMILL_DTYPE=float32 or another VAE",
    "unsafe": "the safety checker withheld the picture",
}


def picture_of(pixels: NDArray[np.float32]) -> Image.Image | None:
    """The 8-bit picture; None where a value is not a number."""
    return to_image(pixels) if np.isfinite(pixels).all() else None


def unusable(picture: Image.Image | None, *, unsafe: bool = False) -> str:
    """Why a picture must not count as done, or nothing; None: its values are not numbers."""
    if unsafe:
        return "unsafe"
    if picture is None:
        return "nan"
    return "black" if is_black(picture) else ""


def _load_controls(run: Run, entry: ItemInProgress, images: ControlImages) -> None:
    """Give the entry its control images and size, or the result that says why it has none."""
    item, source = entry.item, entry.source
    if entry.result:
        return
    if source and source.outcome is not Outcome.DONE:
        message = source.message or f"{source.name}: {source.reason}"
        entry.result = _without_image(item, source.outcome, source.reason, message, source)
        return
    try:
        named = images.of(item, source)
    except (NotFound, BadInput) as error:
        entry.result = _without_image(item, Outcome.FAILED, error.code, str(error), source)
        return
    entry.size = picture_size(named[0][1].size, run.generate)
    entry.control_keys = [name for name, _ in named]
    entry.controls = [fitted(control, entry.size) for _, control in named]


def _of(sources: dict[int, SourceResult], number: int | None) -> SourceResult | None:
    return None if number is None else sources.get(number)


def _give_slots(run: Run, wanted: list[ItemInProgress]) -> None:
    """Every entry that is to be made gets its place among those of its size.

    A ready-made control image is not looked at for it: its row, made alone, keeps its place where the recipe gives
    the size.
    """
    together: dict[tuple[int, int], list[ItemInProgress]] = defaultdict(list)
    for entry in wanted:
        size = entry.size if any(entry.size) else _planned_size(run, entry)
        if entry.result is None and size:
            together[size].append(entry)
    for group in together.values():
        for slot, entry in enumerate(group):
            entry.slot, entry.slots = slot, len(group)


def _planned_size(run: Run, entry: ItemInProgress) -> tuple[int, int] | None:
    """The size that an entry will have, as far as it is known before its control image is read."""
    if entry.source:
        is_drawn = entry.source.outcome is Outcome.DONE
        return picture_size(entry.source.size, run.generate) if is_drawn else None
    width, height = run.generate.width, run.generate.height
    return (width, height) if width and height else None


def _parts(group: list[ItemInProgress], most: int) -> dict[int, list[ItemInProgress]]:
    """The group's entries by the call that makes them."""
    parts: dict[int, list[ItemInProgress]] = defaultdict(list)
    for entry in group:
        parts[entry.slot // most].append(entry)
    return parts


def _call(part: list[ItemInProgress], size: tuple[int, int], *, places: list[int], slots: int) -> Call:
    """A call of so many images; places that no entry has repeat the first one, and are thrown away."""
    entries = [part[0]] * slots
    for place, entry in zip(places, part, strict=True):
        entries[place] = entry
    return Call(
        prompts=[entry.item.prompt for entry in entries],
        negative_prompts=[entry.item.negative_prompt for entry in entries],
        controls=list(zip(*(entry.controls for entry in entries), strict=True)),
        seeds=[entry.item.seed for entry in entries],
        size=size,
    )


def _hand_out(pictures: Pictures, part: list[ItemInProgress], places: list[int], seconds: float) -> None:
    for place, entry in zip(places, part, strict=True):
        entry.pixels = pictures.pixels[place]
        entry.unsafe, entry.truncated = pictures.unsafe[place], pictures.truncated[place]
        entry.batch_size, entry.seconds = len(pictures.pixels), seconds / len(pictures.pixels)


def _without_image(
    item: Item, outcome: Outcome, reason: str, message: str, source: SourceResult | None = None
) -> ItemResult:
    return ItemResult(
        id=item.id,
        outcome=outcome,
        reason=reason,
        message=message,
        prompt=item.prompt,
        negative_prompt=item.negative_prompt,
        seed=item.seed,
        source_number=item.source_number,
        source_name=source.name if source else "",
        columns=item.columns,
    )
