"""A real run's data set loads with the field's libraries, and a ControlNet trains on it."""

import io
import json
import re
from pathlib import Path
from secrets import token_hex
from typing import Any

import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, RunState, decode
from posemill.settings import Settings
from posemill.storage.store import open_store
from producer.cli.main import posemill
from producer.exports.samples.options import Form
from producer.runs.handle import RunHandle
from producer.submitting.submission import submit
from tests.conftest import PHOTOS
from tests.synthetic_run import SINGLE_FORMS, digests

SHARED = ("--shard-size", "4", "--captions", "--validation", "0.5")
SAMPLES = 8
CAPTION = "somebody seen by a caption"
WANTED = {"image", "conditioning_image", "text"}  # the defaults of diffusers' train_controlnet.py
DOCUMENTS = Path(__file__).parents[2] / "docs" / "datasets.md"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two photographs, two prompts, two seeds; one photograph has a caption, and images are taller than wide."""
    folder = tmp_path_factory.mktemp("rows")
    rows = [{"source": str(PHOTOS / "astronaut.png"), "caption": CAPTION}, {"source": str(PHOTOS / "cameraman.png")}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "name": "figures",
        "sources": str(folder / "rows.jsonl"),
        "prompts": ["a figure in {colour}"],
        "matrix": {"colour": ["red", "blue"]},
        "seeds": 2,
        "detect": {"detector": "openpose-thin", "batch_size": 1},
        "generate": {"model": "embedded", "width": 128, "height": 160, "num_inference_steps": 4, "batch_size": 8},
    }


@pytest.fixture(scope="module")
def run(fleet: Settings, recipe: dict[str, Any]) -> RunHandle:
    handle = submit(recipe, run_id="exported", settings=fleet)
    assert handle.wait(timeout_seconds=150).snapshot.state is RunState.COMPLETE
    return handle


def call(fleet: Settings, *words: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSEMILL_STORE", fleet.store)
        return CliRunner().invoke(posemill, words)


@pytest.fixture(scope="module")
def exported(run: RunHandle, fleet: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[Form, Path]:
    """The run in every format, by the command line."""
    folders = {}
    for form in SINGLE_FORMS:
        folders[form] = tmp_path_factory.mktemp(form)
        words = ("export", run.id, str(folders[form]), "--format", form.value, *SHARED, "--json")
        result = call(fleet, *words)
        assert result.exit_code == 0, result.output
        assert json.loads(result.output)["samples"] == SAMPLES
    return folders


def documented_columns(form: Form) -> dict[str, str]:
    """Which column is which, by the flags that the documents give for diffusers' script."""
    section = DOCUMENTS.read_text().split(f"### {form.value}\n")[1].split("\n### ")[0]
    flags = dict(re.findall(r"--(\w+)_column[= ](\S+)", section.split("train_controlnet.py")[1].split("```")[0]))
    return {
        "image": flags.get("image", "image"),
        "conditioning_image": flags.get("conditioning_image", "conditioning_image"),
        "text": flags.get("caption", "text"),
    }


def loaded(folder: Path, cache: Path) -> Any:
    """As diffusers' script loads it."""
    import datasets

    return datasets.load_dataset(str(folder), cache_dir=str(cache))


@pytest.mark.parametrize("form", SINGLE_FORMS)
def test_an_export_loads_under_the_names_that_the_training_script_expects(
    exported: dict[Form, Path], form: Form, tmp_path: Path
) -> None:
    found = loaded(exported[form], tmp_path)
    assert sum(len(split) for split in found.values()) == SAMPLES
    columns = documented_columns(form)
    for split in found.values():
        for sample in split:
            image, control, text = (sample[columns[name]] for name in ("image", "conditioning_image", "text"))
            assert image.size == (128, 160)
            assert image.width * control.height == image.height * control.width
            assert control.convert("L").getextrema()[1] > 100, "a pose is drawn"
            assert isinstance(text, str)
            assert text


@pytest.mark.parametrize("form", SINGLE_FORMS)
def test_captions_records_and_poses_come_along(exported: dict[Form, Path], form: Form, tmp_path: Path) -> None:
    for split in loaded(exported[form], tmp_path).values():
        for sample in split:
            row = sample["json"] if form is Form.WEBDATASET else sample
            captioned = row["source"].endswith("astronaut.png")
            assert row["text"] == (CAPTION if captioned else row["prompt"])
            assert row["prompt"] == f"a figure in {row['column_colour']}"
            assert (row["people"], row["safety"], row["generate_model"]) == (1, "unchecked", "embedded")
            pose = json.loads(row["openpose"])
            assert (pose["canvas_width"], pose["canvas_height"]) == (128, 160)
            (annotation,) = json.loads(row["coco_keypoints"])
            assert len(annotation["keypoints"]) == 51
            assert annotation["num_keypoints"] > 5


def test_a_source_is_in_one_split_alone(exported: dict[Form, Path], tmp_path: Path) -> None:
    found = loaded(exported[Form.PARQUET], tmp_path)
    sources = [set(split["source"]) for split in found.values()]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 2


def test_webdataset_itself_reads_the_shards(exported: dict[Form, Path]) -> None:
    import webdataset

    paths = sorted(str(path) for path in exported[Form.WEBDATASET].glob("*/*.tar"))
    samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode("pil"))
    assert len({sample["__key__"] for sample in samples}) == SAMPLES
    for sample in samples:
        assert sample["png"].size == (128, 160)
        assert sample["cond.png"].size == (128, 160)
        assert sample["txt"] == sample["json"]["text"]


def test_keypoints_lie_on_the_lines_of_the_control_image(exported: dict[Form, Path], tmp_path: Path) -> None:
    for split in loaded(exported[Form.PARQUET], tmp_path).values():
        control = split[0]["conditioning_image"].convert("L")
        numbers = json.loads(split[0]["openpose"])["people"][0]["pose_keypoints_2d"]
        found = [(x, y) for x, y, score in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True) if score]
        scale = control.width / 128
        lit = [_brightest(control, x * scale, y * scale) > 60 for x, y in found if 0 <= x < 128 and 0 <= y < 160]
        assert sum(lit) >= 0.9 * len(lit)


def _brightest(picture: Image.Image, x: float, y: float) -> int:
    """Within two pixels of a place."""
    return picture.crop((int(x) - 2, int(y) - 2, int(x) + 3, int(y) + 3)).getextrema()[1]


@pytest.mark.parametrize("form", [Form.WEBDATASET, Form.PARQUET])
def test_a_controlnet_trains_on_it(exported: dict[Form, Path], form: Form, tmp_path: Path) -> None:
    found, columns = loaded(exported[form], tmp_path), documented_columns(form)
    samples = [{name: sample[columns[name]] for name in WANTED} for sample in next(iter(found.values()))]
    training = Training()
    before = training.weights()
    losses = [training.step(samples[:4]) for _ in range(4)]
    changed = [name for name, weight in training.weights().items() if not weight.equal(before[name])]
    assert losses[-1] < losses[0], "on the same noise it learns"
    assert len(changed) > len(before) / 2


class Training:
    """What diffusers' ControlNet training does in a step, with the embedded model: everything is frozen but the
    ControlNet, which learns to predict the noise or velocity of noisy latents from pose and text.
    """

    def __init__(self) -> None:
        import torch
        from diffusers import AutoencoderTiny, ControlNetModel, DDPMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        from posemill.catalogue.models import MODELS, local_path

        torch.manual_seed(0)
        base = local_path(MODELS["embedded"].base)
        self.vae = AutoencoderTiny.from_pretrained(base, subfolder="vae").requires_grad_(False)
        self.unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet").requires_grad_(False)
        self.text_encoder = CLIPTextModel.from_pretrained(base, subfolder="text_encoder").float().requires_grad_(False)
        self.tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
        self.scheduler = DDPMScheduler.from_pretrained(base, subfolder="scheduler")
        self.controlnet = ControlNetModel.from_pretrained(local_path(MODELS["embedded"].controlnet)).train()
        self.optimizer = torch.optim.AdamW(self.controlnet.parameters(), lr=1e-3)

    def weights(self) -> dict[str, Any]:
        return {name: weight.detach().clone() for name, weight in self.controlnet.named_parameters()}

    def step(self, samples: list[dict[str, Any]]) -> float:
        """One optimisation step, always on the same noise; gives the loss before it."""
        import torch

        generator = torch.Generator().manual_seed(0)
        latents = self.vae.encode(_tensor(samples, "image") * 2 - 1).latents * self.vae.config.scaling_factor
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(0, 1000, (len(samples),), generator=generator)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        words = self.tokenizer([sample["text"] for sample in samples], padding="max_length", truncation=True,
                               return_tensors="pt")  # fmt: skip
        states = self.text_encoder(words.input_ids)[0]
        down, middle = self.controlnet(noisy, timesteps, encoder_hidden_states=states,
                                       controlnet_cond=_tensor(samples, "conditioning_image"),
                                       return_dict=False)  # fmt: skip
        predicted = self.unet(noisy, timesteps, encoder_hidden_states=states, down_block_additional_residuals=down,
                              mid_block_additional_residual=middle).sample  # fmt: skip
        velocity = self.scheduler.config.prediction_type == "v_prediction"
        target = self.scheduler.get_velocity(latents, noise, timesteps) if velocity else noise
        loss = torch.nn.functional.mse_loss(predicted, target)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


def _tensor(samples: list[dict[str, Any]], column: str, side: int = 128) -> Any:
    """As the script does it: short side scaled to the resolution, then the middle cut out; 0..1."""
    import torch
    from torchvision.transforms import v2

    steps = [v2.ToImage(), v2.Resize(side), v2.CenterCrop(side), v2.ToDtype(torch.float32, scale=True)]
    return torch.stack([v2.Compose(steps)(sample[column].convert("RGB")) for sample in samples])


def test_card_report_and_sheet_tell_what_is_in_it(exported: dict[Form, Path]) -> None:
    import yaml

    folder = exported[Form.PARQUET]
    header = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert (header["license"], header["size_categories"]) == ("other", ["n<1K"])
    assert [entry["path"] for entry in header["configs"][0]["data_files"]]
    card = (folder / "README.md").read_text()
    assert "embedded:embedded/controlnet" in card
    assert "a figure in" in card
    report = (folder / "report.html").read_text()
    assert "People per image" in report
    assert report.count('class="skeleton"') == 2, "over both photographs"
    assert report.count("data:image/webp") == 2 + 2 + SAMPLES
    addresses = re.findall(r'(?:src|(?<!xlink:)href)="([^"]*)', report)
    beside = [address for address in addresses if not address.startswith(("data:image", "#"))]
    assert [address for address in beside if not (folder / address).is_file()] == []
    assert not re.findall(r"<(?:link|iframe)\b|<script\b[^>]|url\(\s*['\"]?http", report)
    for name in ("contact_sheet.png", "overview.png"):
        assert Image.open(folder / name).width > 500


def test_two_runs_of_one_recipe_export_the_same_bytes_and_name_no_machine(
    exported: dict[Form, Path], fleet: Settings, recipe: dict[str, Any], tmp_path: Path
) -> None:
    again = submit(recipe, run_id="exported-again", settings=fleet)
    assert again.wait(timeout_seconds=150).snapshot.state is RunState.COMPLETE
    record = decode(again.store.get(RunKeys(again.id).record(Stage.GENERATE, 0)), BatchRecord)
    secrets = (record.worker, record.finished_at, fleet.store, "runs/exported", "controls/", "sources/", str(PHOTOS))
    for form, folder in exported.items():
        other = tmp_path / form
        result = call(fleet, "export", "exported-again", str(other), "--format", form.value, *SHARED)
        assert result.exit_code == 0, result.output
        first, second = digests(folder), digests(other)
        assert {name for name in first | second if first.get(name) != second.get(name)} == {
            "posemill.json",
            "index.json",
        }
        content = b"".join(path.read_bytes() for path in other.rglob("*") if path.is_file())
        assert [secret for secret in secrets if secret.encode() in content] == []


def test_with_provenance_an_export_says_who_made_what_when_and_where(
    fleet: Settings, run: RunHandle, tmp_path: Path
) -> None:
    result = call(fleet, "export", run.id, str(tmp_path / "out"), "--with-provenance")
    assert result.exit_code == 0, result.output
    row = pyarrow.parquet.read_table(tmp_path / "out/train/metadata.parquet").to_pylist()[0]
    assert row["image_key"].startswith(f"runs/{run.id}/images/")
    assert row["control_key"].startswith("controls/")
    assert row["worker"]
    assert row["finished_at"].startswith("20")
    assert row["seconds"] > 0
    assert f"run {run.id}" in (tmp_path / "out/report.html").read_text()


def test_check_proves_an_export_against_its_run_and_finds_a_changed_shard(
    exported: dict[Form, Path], run: RunHandle, fleet: Settings
) -> None:
    folder = exported[Form.WEBDATASET]
    whole = call(fleet, "check", run.id, "--export", str(folder), "--json")
    assert (whole.exit_code, json.loads(whole.output)["complete"]) == (0, True)
    shard = next(folder.glob("*/00000.tar"))
    kept = shard.read_bytes()
    shard.write_bytes(kept[:-1] + b"x")
    broken = call(fleet, "check", "--export", str(folder))
    shard.write_bytes(kept)
    assert broken.exit_code == 1
    assert f"changed_object: {shard.relative_to(folder)}" in broken.output


def test_an_export_to_object_storage_is_the_same_bytes_and_is_proven_there(
    exported: dict[Form, Path], run: RunHandle, fleet: Settings
) -> None:
    bucket_prefix = f"{fleet.store}-data-{token_hex(4)}"
    result = call(fleet, "export", run.id, bucket_prefix, "--format", "webdataset", *SHARED)
    assert result.exit_code == 0, result.output
    store = open_store(bucket_prefix)
    for path in exported[Form.WEBDATASET].rglob("*"):
        if path.is_file():
            assert store.get(path.relative_to(exported[Form.WEBDATASET]).as_posix()) == path.read_bytes(), path
    assert call(fleet, "check", run.id, "--export", bucket_prefix).exit_code == 0
    assert Image.open(io.BytesIO(store.get("contact_sheet.png"))).width > 0


def test_what_is_wanted_twice_is_one_sample_that_every_library_reads(fleet: Settings, tmp_path: Path) -> None:
    """A matrix value given twice, and a template that meets another."""
    import webdataset

    recipe = {
        "sources": str(PHOTOS / "astronaut.png"),
        "prompts": ["a figure in {c}", "a figure in red"],
        "matrix": {"c": ["red", "red", "blue"]},
        "seeds": [1, 1],
        "detect": {"detector": "openpose-thin"},
        "generate": {"model": "embedded", "num_inference_steps": 1},
    }
    handle = submit(recipe, run_id="twice", settings=fleet)
    assert (handle.plan.items, handle.plan.repeated_items) == (2, 6)
    assert handle.wait(timeout_seconds=150).failed == 0
    for form in (Form.WEBDATASET, Form.IMAGEFOLDER):
        words = ("export", "twice", str(tmp_path / form), "--format", form.value, "--json")
        assert json.loads(call(fleet, *words).output)["samples"] == 2
        assert len(loaded(tmp_path / form, tmp_path / "cache")["train"]) == 2
    shards = [str(path) for path in (tmp_path / Form.WEBDATASET).glob("*/*.tar")]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert {sample["txt"].decode() for sample in samples} == {"a figure in red", "a figure in blue"}
