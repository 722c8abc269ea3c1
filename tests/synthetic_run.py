"""A finished run of any size that takes no room: a store that makes up what it is asked for, always the same."""

import hashlib
import io
import random
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image, ImageDraw

from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys, Stage, batch_of
from posemill.contract.records import (
    BatchRecord,
    ControlResult,
    ItemResult,
    Outcome,
    Plan,
    Rules,
    Run,
    ShardHeader,
    Slicing,
    Source,
    SourceResult,
    StoredObject,
    encode,
    encode_shard,
)
from posemill.contract.specs import ControlNetSpec, DetectSpec, GenerateSpec
from posemill.errors import NotFound
from posemill.pictures.hashes import perceptual_hash
from posemill.pictures.poses import Person, Pose, to_openpose_json
from posemill.storage.store import ObjectInfo
from producer.exports.samples.options import Form
from tests.planned import by_stage

RUN_ID = "synthetic"
VARIANTS = 64  # different images, control images and poses
SIZE = 64  # pixels
BATCH = 8
ITEMS_A_SOURCE = 4


class SyntheticStore:
    """A store that holds one run and nothing else. `written` says which generate batches have their record.

    Without `hashes` the records know no perceptual hashes.
    """

    url = "s3://synthetic"

    def __init__(
        self,
        items: int,
        *,
        written: Callable[[int], bool] = lambda _: True,
        image: Callable[[int], bytes] | None = None,
        hashes: bool = True,
    ) -> None:
        self.items = items
        self.written = written
        self.image = image or variant_image
        self.hashes = hashes
        self.reads = 0  # of images
        self.replaced: dict[str, bytes] = {}  # objects that a test puts in the place of the made-up ones
        self._keys = RunKeys(RUN_ID)

    def get(self, key: str) -> bytes:
        if key in self.replaced:
            return self.replaced[key]
        folder = key.removeprefix(self._keys.root).split("/")[0]
        makers: dict[str, Callable[[str], bytes]] = {
            "run.json": lambda _: encode(synthetic_run()),
            "plan": self._planned,
            "records": lambda key: self._record(Stage(key.split("/")[3]), batch_of(key)),
            "images": self._image,
            "controls": _control,
            "sources": lambda key: variant_image(_number(key)),
        }
        if folder not in makers:
            raise NotFound(f"{key} is not there")
        return makers[folder](key)

    def control_keys(self) -> list[str]:
        """Of all control images and poses."""
        names = [f"controls/{variant:02x}/{variant:032x}" for variant in range(VARIANTS)]
        return [f"{name}.{suffix}" for name in names for suffix in ("png", "json")]

    def head(self, key: str) -> StoredObject | None:
        try:
            return stored(key, self.get(key))
        except NotFound:
            return None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        raise NotImplementedError

    folders = list_uri = list

    def put(self, key: str, content: bytes, **_: Any) -> StoredObject:
        raise NotImplementedError

    put_if_absent = delete = put_file = get_file = get_uri = put  # type: ignore[assignment]

    def _planned(self, key: str) -> bytes:
        if key != self._keys.sealed:
            return self._detect_shard(_number(key))
        sources = -(-self.items // ITEMS_A_SOURCE)
        plan = Plan(
            rows=by_stage(sources, self.items),
            batches=by_stage(-(-sources // BATCH), -(-self.items // BATCH)),
            refused_rows=0,
        )
        return encode(plan)

    def _image(self, key: str) -> bytes:
        self.reads += 1
        return self.image(_number(key))

    def _record(self, stage: Stage, batch: int) -> bytes:
        if stage is Stage.GENERATE and not self.written(batch):
            raise NotFound(f"batch {batch} has no record")
        if stage is Stage.DETECT:
            return _detect_record(batch)
        numbers = range(batch * BATCH, min((batch + 1) * BATCH, self.items))
        items = [_item(number, self.image(number), hashed=self.hashes) for number in numbers]
        return encode(_record_of(Stage.GENERATE, batch, items))

    def _detect_shard(self, number: int) -> bytes:
        rows = [Source(name=source_name(n), identity=f"{n:064x}", key=f"sources/{n:02x}/{n % VARIANTS:012x}")
                for n in range(number * 1000, number * 1000 + 1000)]  # fmt: skip
        return encode_shard(ShardHeader(first=number * 1000, rows=1000, needs=[]), rows)


SINGLE_FORMS = tuple(form for form in Form if form is not Form.PREFERENCE)
"""Forms whose samples are one image each; pairs need a run that was judged: tests/acceptance/test_verifying.py."""


def _number(key: str) -> int:
    """In the first twelve hexadecimal digits of a key's last part; plan shards count in decimal digits below 10."""
    return int(key.rsplit("/", 1)[-1].split(".", maxsplit=1)[0][:12], 16)


def _control(key: str) -> bytes:
    variant = int(key.rsplit("/", 1)[-1].split(".", maxsplit=1)[0], 16)
    return variant_control(variant) if key.endswith(".png") else variant_pose(variant)


def item_id(number: int) -> str:
    """Twelve digits of the item's number, and more that look drawn by lot."""
    return f"{number:012x}" + hashlib.sha256(str(number).encode()).hexdigest()[:20]


def source_name(number: int) -> str:
    return f"photo{number:06d}.png"


def stored(key: str, content: bytes) -> StoredObject:
    return StoredObject(key=key, sha256=sha256(content), etag="", size=len(content))


@cache
def synthetic_run() -> Run:
    return Run(
        id=RUN_ID,
        name="synthetic figures",
        created_at="2026-01-01T00:00:00+00:00",
        recipe={"prompts": ["a figure in {colour}"], "matrix": {"colour": ["red", "blue"]}, "sources": "photos/"},
        recipe_digest="0",
        detects=(DetectSpec(detector="openpose-thin"),),
        rules=Rules(),
        generate=GenerateSpec(
            model="embedded",
            base="embedded:embedded",
            controlnets=(ControlNetSpec(controlnet="embedded:embedded/controlnet"),),
        ),
        slicing={stage: Slicing(batch_size=BATCH, shard_size=1000) for stage in (Stage.DETECT, Stage.GENERATE)},
        queues={stage: f"posemill.{stage}" for stage in (Stage.DETECT, Stage.GENERATE)},
        posemill_version="test",
    )


def _item(number: int, image: bytes, *, hashed: bool) -> ItemResult:
    """Every tenth item is rejected."""
    source, colour = number // ITEMS_A_SOURCE, ("red", "blue")[number % 2]
    common = {"id": item_id(number), "prompt": f"a figure in {colour}", "seed": number * 40503 % 2**32,
              "source_number": source, "source_name": source_name(source), "columns": {"colour": colour}}  # fmt: skip
    if number % 10 == 9:
        return ItemResult(outcome=Outcome.REJECTED, reason="unsafe", **common)
    return ItemResult(
        outcome=Outcome.DONE,
        control_keys=[f"controls/{source % VARIANTS:02x}/{source % VARIANTS:032x}.png"],
        detector="openpose-thin, controlnet_aux 0.0.10",
        image=stored(RunKeys(RUN_ID).image(item_id(number)), image),
        perceptual_hash=hash_of(image) if hashed else "",
        width=SIZE,
        height=SIZE,
        batch_size=BATCH,
        seconds=0.05 + number % 7 / 100,
        **common,
    )


@lru_cache(maxsize=1024)
def hash_of(image: bytes) -> str:
    return f"{perceptual_hash(Image.open(io.BytesIO(image))):016x}"


@lru_cache(maxsize=64)
def _detect_record(batch: int) -> bytes:
    return encode(_record_of(Stage.DETECT, batch, [_source(n) for n in range(batch * BATCH, (batch + 1) * BATCH)]))


def _source(number: int) -> SourceResult:
    variant = number % VARIANTS
    control, pose = (f"controls/{variant:02x}/{variant:032x}.{suffix}" for suffix in ("png", "json"))
    return SourceResult(
        source_number=number,
        name=source_name(number),
        outcome=Outcome.DONE,
        source_sha256=f"{number:064x}",
        people=1 + number % 3,
        score=round(0.3 + number % 8 / 12, 4),
        controls=[
            ControlResult(
                kind="openpose",
                detector="openpose-thin, controlnet_aux 0.0.10",
                width=2 * SIZE,
                height=2 * SIZE,
                image=stored(control, variant_control(variant)),
            )
        ],
        pose=stored(pose, variant_pose(variant)),
    )


def _record_of(stage: Stage, batch: int, results: list[Any]) -> BatchRecord:
    made_with = {"device": "cpu", "dtype": "float32", "versions": {"torch": "2"}, "generate": {"safety_checker": True}}
    return BatchRecord(run_id=RUN_ID, stage=stage, batch=batch, attempt=1, worker="w:1",
                       finished_at="2026-01-01T00:00:01+00:00", made_with=made_with, results=results)  # fmt: skip


@cache
def variant_image(number: int) -> bytes:
    """A blurred patchwork, one of VARIANTS."""
    if number >= VARIANTS:
        return variant_image(number % VARIANTS)
    patches = Image.frombytes("RGB", (8, 8), random.Random(number).randbytes(192))
    return png(patches.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


@cache
def variant_control(variant: int) -> bytes:
    picture = Image.new("RGB", (2 * SIZE, 2 * SIZE))
    draw = ImageDraw.Draw(picture)
    body = [(x * 2 * SIZE, y * 2 * SIZE) for x, y, _ in filter(None, _person(variant).body)]
    draw.line(body, fill="lime", width=3)
    return png(picture)


@cache
def variant_pose(variant: int) -> bytes:
    pose = Pose(width=2 * SIZE, height=2 * SIZE, people=(_person(variant),))
    document = to_openpose_json(pose) | {"control_width": 2 * SIZE, "control_height": 2 * SIZE, "detector": "thin"}
    return msgspec.json.encode(document)


def _person(variant: int) -> Person:
    drawn = random.Random(variant)
    return Person(body=tuple((drawn.uniform(0.2, 0.8), drawn.uniform(0.1, 0.9), 0.9) for _ in range(18)))


def png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def digests(folder: Path) -> dict[str, str]:
    """Every file below a folder with the digest of its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()) for path in files}


def with_texts(store: SyntheticStore, texts: list[str]) -> SyntheticStore:
    """The store, whose items (one batch of them) have these prompts, and everything else that is a text as well."""
    key = RunKeys(RUN_ID).record(Stage.GENERATE, 0)
    record = msgspec.json.decode(store.get(key), type=BatchRecord)
    items = [
        msgspec.structs.replace(
            item, prompt=text, negative_prompt=text, source_name=text, columns={"colour": text, "caption": text}
        )
        for item, text in zip(record.items, texts, strict=True)
    ]
    store.replaced[key] = encode(msgspec.structs.replace(record, results=items))
    return store
