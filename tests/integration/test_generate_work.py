"""The generate stage around its pipeline, in real storage: what counts as done and what is written."""

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import Item, Outcome, Run, ShardHeader, Slicing, Source, encode, encode_shard
from posemill.contract.specs import GenerateSpec
from posemill.pictures.hashes import perceptual_hash
from posemill.settings import Settings
from posemill.storage.store import Store
from tests.planned import make_run
from workers.batches.plan_reader import Slices
from workers.generating.control_images import ControlImages
from workers.generating.generate_work import GenerateWork
from workers.generating.pipeline_calls import Call, Pictures

CASES = Path(__file__).parents[1] / "unit" / "cases"

COUNT = 6


class FakePipeline:
    """Paints each image in a grey that its seed chooses; a gradient, NaN and black on wish."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.made_with: dict[str, object] = {"device": "none", "dtype": "float32"}

    def __call__(self, call: Call, spec: GenerateSpec) -> Pictures:
        self.calls.append(len(call.prompts))
        slope = np.linspace(0, 1, 8)[:, None, None]
        grey = {"nan": np.nan, "black": 0.0, "gradient": slope}
        pixels = [
            np.full((8, 8, 3), grey.get(p, s / 10), np.float32) for p, s in zip(call.prompts, call.seeds, strict=True)
        ]
        return Pictures(pixels=np.stack(pixels), unsafe=[prompt == "unsafe" for prompt in call.prompts],
                        truncated=[False] * len(pixels))  # fmt: skip


def make_work(
    store: Store, settings: Settings, pipeline: FakePipeline, prompts: list[str] | None = None
) -> tuple[GenerateWork, Run]:
    """A run of one batch of ready-made control images."""
    slicing = Slicing(batch_size=COUNT, shard_size=COUNT)
    base = make_run("r")
    run = type(base)(
        **{name: getattr(base, name) for name in base.__struct_fields__ if name != "slicing"},
        slicing={Stage.DETECT: slicing, Stage.GENERATE: slicing},
    )
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(buffer, "PNG")
    store.put("control", buffer.getvalue())
    control = Source(name="c.png", identity=sha256(buffer.getvalue()), key="control")
    items = [
        Item(id=f"item{n}", prompt=(prompts or ["p"] * COUNT)[n], seed=n + 1, control_image=control)
        for n in range(COUNT)
    ]
    keys = RunKeys("r")
    store.put(keys.run, encode(run))
    store.put(keys.shard(Stage.GENERATE, 0), encode_shard(ShardHeader(first=0, rows=COUNT, needs=[[]]), items))
    return GenerateWork(store, Slices(store), settings, load_pipeline=lambda spec: pipeline), run


def results(work: GenerateWork, run: Run) -> list[Any]:
    return work.save(run, work.compute(run, work.load(run, 0, None)))


def test_a_batch_is_one_pipeline_call(store: Store, settings: Settings) -> None:
    pipeline = FakePipeline()
    work, run = make_work(store, settings, pipeline)
    assert {result.outcome for result in results(work, run)} == {Outcome.DONE}
    assert pipeline.calls == [COUNT]


def test_a_row_made_alone_keeps_its_place_in_a_call_of_the_planned_shape(store: Store, settings: Settings) -> None:
    """So that its bytes are those that it has among its neighbours, on a device where company changes low bits."""

    class Placed(FakePipeline):
        """An image depends on its place in the call, and on how many there are."""

        def __call__(self, call: Call, spec: GenerateSpec) -> Pictures:
            made = super().__call__(call, spec)
            places = np.arange(len(call.prompts), dtype=np.float32)[:, None, None, None]
            return msgspec.structs.replace(made, pixels=made.pixels * 0.5 + places / 100 + len(call.prompts) / 1000)

    prompts = ["p", "q", "p", "q", "p", "q"]
    work, run = make_work(store, settings, Placed(), prompts)
    sized = msgspec.structs.replace(run, generate=msgspec.structs.replace(run.generate, width=64, height=64))
    together = work.compute(sized, work.load(sized, 0, None))
    alone = [work.compute(sized, work.load(sized, 0, None, row))[0] for row in range(COUNT)]
    for one, other in zip(alone, together, strict=True):
        assert (one.item, one.pixels.tobytes()) == (other.item, other.pixels.tobytes())
        assert one.batch_size == other.batch_size == COUNT


def test_black_nan_and_withheld_pictures_never_count_as_done(store: Store, settings: Settings) -> None:
    work, run = make_work(store, settings, FakePipeline(), ["p", "nan", "black", "unsafe", "p", "p"])
    made = results(work, run)
    assert [result.reason for result in made] == ["", "nan", "black", "unsafe", "", ""]
    outcomes = [result.outcome for result in made[1:4]]
    assert outcomes == [Outcome.FAILED, Outcome.FAILED, Outcome.REJECTED]
    assert len(list(store.list("runs/r/images/"))) == 3


def test_a_picture_made_again_keeps_the_first_writer_s_bytes(store: Store, settings: Settings) -> None:
    work, run = make_work(store, settings, FakePipeline())
    store.put(RunKeys("r").image("item0"), b"what another worker wrote")
    first = results(work, run)[0]
    assert first.image.sha256 == sha256(b"what another worker wrote")


def test_the_record_has_the_perceptual_hash_of_the_stored_image(store: Store, settings: Settings) -> None:
    work, run = make_work(store, settings, FakePipeline(), ["p", "gradient", *["p"] * 4])
    store.put(RunKeys("r").image("item0"), b"what another worker wrote")
    made = results(work, run)
    stored = Image.open(io.BytesIO(store.get(made[1].image.key)))
    assert made[1].perceptual_hash == f"{perceptual_hash(stored):016x}"
    assert made[1].perceptual_hash != made[2].perceptual_hash
    assert made[0].perceptual_hash == "", "it is not the image that this worker drew"


def test_an_image_carries_its_settings(store: Store, settings: Settings) -> None:
    work, run = make_work(store, settings, FakePipeline(), ["a dancer in grün", *["p"] * 5])
    stored = results(work, run)[0].image
    text = PngImageFile(io.BytesIO(store.get(stored.key))).text
    assert text["parameters"].startswith("a dancer in grün\nSteps: 20, Sampler: unipc, CFG scale: 7.5, Seed: 1,")
    assert '"dtype": "float32"' in text["posemill"]


def test_a_lost_control_image_fails_its_items_alone(store: Store, settings: Settings) -> None:
    work, run = make_work(store, settings, FakePipeline())
    store.delete("control")
    assert {result.reason for result in results(work, run)} == {"not_found"}


def test_a_control_image_that_is_not_what_was_written_fails_its_items(store: Store, settings: Settings) -> None:
    work, run = make_work(store, settings, FakePipeline())
    store.put("control", b"something else")
    assert {result.reason for result in results(work, run)} == {"changed"}


def test_a_run_may_keep_its_images_as_lossless_webp(store: Store, settings: Settings) -> None:
    work, run = make_work(store, settings, FakePipeline())
    stored = results(work, msgspec.structs.replace(run, image_format="webp"))[2].image
    picture = Image.open(io.BytesIO(store.get(stored.key)))
    assert (stored.key, picture.format) == ("runs/r/images/it/item2.webp", "WEBP")
    assert set(picture.convert("RGB").getdata()) == {(76, 76, 76)}  # seed 3: 0.3 of 255


def test_a_transparent_control_image_is_to_the_pipeline_what_the_opaque_one_is(store: Store) -> None:
    seen = []
    for name in ("transparent.png", "black.png"):
        content = (CASES / name).read_bytes()
        store.put(name, content)
        item = Item(id=name, prompt="p", seed=1, control_image=Source(name=name, identity=sha256(content), key=name))
        ((_, control),) = ControlImages(store, (), limit_pixels=10**6).of(item, None)
        seen.append(control.tobytes())
    assert seen[0] == seen[1]
