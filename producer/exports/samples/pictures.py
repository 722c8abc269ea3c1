"""Makes a sample ready to be written: its image, control image and pose, read from storage and looked at."""

import io

import msgspec
from PIL import Image

from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import Run, Source, decode_rows
from posemill.errors import BadInput
from posemill.pictures.decoding import PictureError, decode_picture, is_black
from posemill.pictures.hashes import perceptual_hash
from posemill.storage.store import Store, get_unchanged
from producer.exports.samples.controls import FittedControl, SampleControls, read_address
from producer.exports.samples.keeping import Kept
from producer.exports.samples.keypoints import PlacedPose, placed, placed_as_found
from producer.exports.samples.options import Form, ImageFormat, Options
from producer.exports.samples.reading import Sample

KEPT_SHARDS = 4  # of the detect plan, for source images
KEPT_POSES = 32  # neighbours in a run share theirs
PNG = b"\x89PNG"


class PreparedSample(msgspec.Struct, frozen=True, kw_only=True):
    """A sample with its pictures, encoded."""

    sample: Sample
    image: bytes
    image_sha256: str
    control_image: FittedControl
    pose: PlacedPose | None  # in the image's pixels; None: the control image was ready-made
    source: bytes | None  # the source image, where it is wanted and there is one
    perceptual_hash: int  # 64 bits
    rejected: bytes | None = None  # the image of a try that did not pass, where pairs are wanted


class Maker:
    """Makes samples; safe between threads."""

    def __init__(self, store: Store, run: Run, options: Options) -> None:
        self._store = store
        self._run = run
        self._options = options
        self._controls = SampleControls(store)
        self._plans: Kept[bytes] = Kept(KEPT_SHARDS)
        self._poses: Kept[PlacedPose] = Kept(KEPT_POSES)

    def make(self, sample: Sample) -> PreparedSample:
        """Raises ChangedObject, NotFound, or BadInput when the image is black or something is no picture."""
        try:
            return self._make(sample)
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow's, about its bytes
            raise BadInput(f"item {sample.item.id}: a picture of it cannot be read ({error})") from error

    def _make(self, sample: Sample) -> PreparedSample:
        assert sample.item.image is not None
        stored = get_unchanged(self._store, sample.item.image.key, sample.item.image.sha256)
        image, hash_bits = self._looked_at(sample, stored)
        control = self._controls.of(sample)
        return PreparedSample(
            sample=sample,
            image=image,
            image_sha256=sample.item.image.sha256 if image is stored else sha256(image),
            control_image=control,
            pose=self._pose(sample, control),
            source=self._source(sample) if self._options.with_source else None,
            perceptual_hash=hash_bits,
            rejected=self._rejected(sample),
        )

    def _looked_at(self, sample: Sample, stored: bytes) -> tuple[bytes, int]:
        """The image as it is exported, and its perceptual hash.

        The worker hashed what it drew, saw that it was not black, and these are the bytes that it wrote: they are
        decoded where its record has no hash, or the one of a black picture, or where they are encoded anew.
        """
        known = int(sample.item.perceptual_hash or "0", 16)
        keep = self._options.image_format is ImageFormat.PNG and stored.startswith(PNG)
        if known and keep:
            return stored, known
        picture = Image.open(io.BytesIO(stored))
        if is_black(picture):
            raise BadInput(f"item {sample.item.id}: the image is black, though its record says done")
        return stored if keep else encoded(picture, self._options), known or perceptual_hash(picture)

    def _rejected(self, sample: Sample) -> bytes | None:
        if self._options.form is not Form.PREFERENCE or sample.rejected is None:
            return None
        stored = get_unchanged(self._store, sample.rejected.image.key, sample.rejected.image.sha256)
        if self._options.image_format is ImageFormat.PNG and stored.startswith(PNG):
            return stored
        return encoded(Image.open(io.BytesIO(stored)), self._options)

    def _pose(self, sample: Sample, control: FittedControl) -> PlacedPose | None:
        if self._options.relabel:
            return placed_as_found(sample.judged.found) if sample.judged and sample.judged.found else None
        if not sample.source or not sample.source.pose:
            return None
        pose, sizes = sample.source.pose, (control.drawn_size, (sample.item.width, sample.item.height))
        return self._poses.get(
            (pose.key, sizes), lambda: placed(get_unchanged(self._store, pose.key, pose.sha256), *sizes)
        )

    def _source(self, sample: Sample) -> bytes | None:
        source = planned_source(self._store, self._run, sample.item.source_number, self._plans)
        if source is None or source.pose is not None:
            return None
        content = read_address(self._store, source.key or source.uri or "")
        try:
            picture = decode_picture(content, limit_pixels=self._run.limit_pixels)
        except PictureError as error:
            raise BadInput(f"item {sample.item.id}: {source.name}: {error}") from error
        return encoded(picture, self._options)


def planned_source(store: Store, run: Run, number: int | None, plans: Kept[bytes]) -> Source | None:
    """A source's row of the detect plan by its number; None where the control image was ready-made."""
    if number is None:
        return None
    slicing = run.slicing[Stage.DETECT]
    batch, position = divmod(number, slicing.batch_size)
    shard, rows = slicing.place(batch)
    key = RunKeys(run.id).shard(Stage.DETECT, shard)
    return decode_rows(plans.get(key, lambda: store.get(key)), Source, rows)[position]


def encoded(picture: Image.Image, options: Options) -> bytes:
    """The picture in the format and quality asked for."""
    buffer = io.BytesIO()
    choices = {} if options.image_format is ImageFormat.PNG else {"quality": options.quality}
    picture.convert("RGB").save(buffer, options.image_format.value.upper(), **choices)
    return buffer.getvalue()
