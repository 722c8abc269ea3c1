"""The data card: README.md with the header that the Hugging Face Hub reads, as it is written beside an export."""

from typing import Any

import yaml

from posemill.catalogue.models import MODELS
from posemill.contract.records import Run
from producer.exports.counts.statistics import Statistics
from producer.exports.samples.columns import Kind
from producer.exports.samples.options import Form, Options
from producer.exports.writing.shards import ExportIndex
from producer.sheets.pages import environment

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
         (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"))  # fmt: skip  # the Hub's words
LAST_SIZE = "100M<n<1B"
MOST_PROMPTS = 20


def render_card(
    export_index: ExportIndex, run: Run, statistics: Statistics, kinds: dict[str, Kind], *, licence: str, sheet: bool
) -> str:
    """The whole README.md."""
    header = hub_header(export_index, run, licence=licence)
    return environment().get_template("data_card.md.j2").render(
        header=yaml.safe_dump(header, sort_keys=False, allow_unicode=True).strip(),
        export_index=export_index,
        run=run,
        statistics=statistics,
        total=sum(export_index.samples.values()),
        sheet=sheet,
        kinds=kinds,
        flags=training_flags(export_index.options),
        models=models(run),
        model_licence=model_licence(run),
        recipe=yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True).strip(),
        prompts=sorted(statistics.prompts.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_PROMPTS],
    )  # fmt: skip


def hub_header(export_index: ExportIndex, run: Run, *, licence: str) -> dict[str, Any]:
    """What the Hub and `datasets.load_dataset` read: licence, tags, size, and where each split's files lie."""
    total = sum(export_index.samples.values())
    own_licence = {"license_name": "see-below"} if licence == "other" else {}
    return {
        "license": licence,
        **own_licence,
        "pretty_name": run.name,
        "task_categories": ["text-to-image", "image-to-image"],
        "tags": ["controlnet", "openpose", "pose", "synthetic", "posemill"],
        "size_categories": [next((word for most, word in SIZES if total < most), LAST_SIZE)],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": split_pattern(export_index.options.form, split)}
                    for split, samples in export_index.samples.items()
                    if samples
                ],
            }
        ],
    }


def split_pattern(form: Form, split: str) -> str:
    """The files of a split, as the Hub's card names them."""
    patterns = {Form.WEBDATASET: "*.tar", Form.PARQUET: "*.parquet", Form.PREFERENCE: "*.parquet"}
    return f"{split}/{patterns.get(form, '**')}"


def training_flags(options: Options) -> str:
    """What diffusers' ControlNet training script wants to be told; its defaults fit all formats but WebDataset."""
    if options.form is not Form.WEBDATASET:
        return ""
    suffix = options.image_format.suffix
    return f"--image_column={suffix} --conditioning_image_column=cond.png --caption_column=txt"


def models(run: Run) -> list[tuple[str, str, str]]:
    """Role, model and revision of everything that had a part."""
    spec = run.generate
    found = [("base", spec.base, spec.base_revision or "")]
    found += [("ControlNet", net.controlnet, net.controlnet_revision or "") for net in spec.controlnets]
    for detect in run.detects:
        found.append(("detector", detect.detector, ""))
        found += [("detector's weights", detect.weights, detect.revision or "")] if detect.weights else []
    return found


def model_licence(run: Run) -> str:
    """What posemill knows about the model's licence, in words."""
    named = MODELS.get(run.generate.model)
    return named.licence if named else "not known to posemill; see the models' own cards"
