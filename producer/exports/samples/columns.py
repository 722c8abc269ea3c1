"""What an export says of a sample: one flat row, the same in every format, with a value in every column.

No value is ever null: libraries guess a column's type from the first samples, and a type once guessed must hold.
Unknown texts are empty, an unknown source has number -1.
"""

from enum import StrEnum
from typing import Any

import msgspec

from posemill.contract.records import JudgedResult, Run
from producer.exports.samples.options import Form, Options
from producer.exports.samples.pictures import PreparedSample
from producer.exports.samples.published import PROVENANCE, published_json, published_name, published_run, sources_of
from producer.exports.samples.reading import Sample, oks_of
from producer.exports.samples.settings import settings_of
from producer.exports.samples.splits import split_of
from producer.recipes.prompts import parse_template
from producer.submitting.planning import CAPTION


class Kind(StrEnum):
    """A column's type, by the name that `datasets` and pyarrow know."""

    TEXT = "string"
    WHOLE = "int64"
    NUMBER = "float64"
    TRUTH = "bool"


FROM_RECORDS = {  # what a filter may name
    "text": Kind.TEXT,  # what to train on: the prompt, or the caption where that was chosen
    "prompt": Kind.TEXT,
    "negative_prompt": Kind.TEXT,
    "caption": Kind.TEXT,
    "prompt_truncated": Kind.TRUTH,
    "item_id": Kind.TEXT,
    "split": Kind.TEXT,
    "seed": Kind.WHOLE,
    "source": Kind.TEXT,
    "source_number": Kind.WHOLE,
    "source_sha256": Kind.TEXT,
    "people": Kind.WHOLE,
    "score": Kind.NUMBER,
    "detector": Kind.TEXT,
    "width": Kind.WHOLE,
    "height": Kind.WHOLE,
    "seconds": Kind.NUMBER,
    "detect_seconds": Kind.NUMBER,
    "call_images": Kind.WHOLE,
    "safety": Kind.TEXT,
    "image_key": Kind.TEXT,
    "image_sha256": Kind.TEXT,
    "image_bytes": Kind.WHOLE,
    "control_key": Kind.TEXT,
    "control_keys": Kind.TEXT,
    "control_sha256": Kind.TEXT,
    "batch": Kind.WHOLE,
    "attempt": Kind.WHOLE,
    "worker": Kind.TEXT,
    "finished_at": Kind.TEXT,
    "device": Kind.TEXT,
    "dtype": Kind.TEXT,
    "made_with": Kind.TEXT,
}
FROM_JUDGES = {  # of runs whose images are judged
    "oks": Kind.NUMBER,  # mean over the people; 0 where no check compares poses
    "tries": Kind.WHOLE,  # images that were made for the item, this one included
    "checks": Kind.TEXT,  # every check's figures, as JSON
    "found_keypoints": Kind.TEXT,  # OpenPose JSON of the pose that was found again
}
FROM_PAIRS = {  # of pairs of an image that passed with one that did not
    "label_0": Kind.WHOLE,  # 1: jpg_0 is the one that passed; 0: jpg_1
    "margin": Kind.NUMBER,  # by how much its OKS is the larger
    "rejected_id": Kind.TEXT,
    "rejected_try": Kind.WHOLE,
    "rejected_oks": Kind.NUMBER,
    "rejected_sha256": Kind.TEXT,
}
FROM_PICTURES = {
    "openpose": Kind.TEXT,
    "coco_keypoints": Kind.TEXT,
    "perceptual_hash": Kind.TEXT,
    "near_duplicate_of": Kind.TEXT,
}
_KINDS: dict[type, Kind] = {bool: Kind.TRUTH, int: Kind.WHOLE, float: Kind.NUMBER, str: Kind.TEXT}


class Columns:
    """The rows of one run under the options of one export."""

    def __init__(self, run: Run, options: Options) -> None:
        self._options = options
        self._sources = sources_of(run)
        run = run if options.with_provenance else published_run(run)
        self._settings = _columns_of(settings_of(run))
        self._own = own_columns(run)
        settings = {name: _KINDS[type(value)] for name, value in self._settings.items()}
        own = {f"column_{name}": Kind.TEXT for name in self._own}
        pairs = FROM_PAIRS if options.form is Form.PREFERENCE else {}
        judged = FROM_JUDGES | pairs if run.verify else {}
        self.filterable: dict[str, Kind] = FROM_RECORDS | judged | settings | own
        left_out = frozenset[str]() if options.with_provenance else PROVENANCE
        kinds = FROM_RECORDS | judged | FROM_PICTURES | settings | own
        self.kinds: dict[str, Kind] = {name: kind for name, kind in kinds.items() if name not in left_out}

    def of_sample(self, sample: Sample) -> dict[str, Any]:
        """Everything that the records say."""
        item, source, image, made_with = sample.item, sample.source, sample.item.image, sample.made_with
        assert image is not None
        caption = item.columns.get(CAPTION, "")
        checked = made_with.get("generate", {}).get("safety_checker", False)
        shares = {"validation": self._options.validation, "test": self._options.test}
        return {
            "text": caption if self._options.captions and caption else item.prompt,
            "prompt": item.prompt,
            "negative_prompt": item.negative_prompt,
            "caption": caption,
            "prompt_truncated": item.prompt_truncated,
            "item_id": item.id,
            "split": split_of(sample.origin, **shares),
            "seed": item.seed,
            "source": item.source_name,
            "source_number": -1 if item.source_number is None else item.source_number,
            "source_sha256": source.source_sha256 if source else "",
            "people": source.people if source else 0,
            "score": source.score if source else 0.0,
            "detector": item.detector,
            "width": item.width,
            "height": item.height,
            "seconds": float(item.seconds),
            "detect_seconds": float(source.seconds) if source else 0.0,
            "call_images": item.batch_size,
            "safety": "safe" if checked else "unchecked",
            "image_key": image.key,
            "image_sha256": image.sha256,
            "image_bytes": image.size,
            "control_key": sample.control_key,
            "control_keys": msgspec.json.encode(sample.control_keys).decode(),
            "control_sha256": sample.drawn.sha256 if sample.drawn else "",
            "batch": sample.batch,
            "attempt": sample.attempt,
            "worker": sample.worker,
            "finished_at": sample.finished_at,
            "device": str(made_with.get("device", "")),
            "dtype": str(made_with.get("dtype", "")),
            "made_with": msgspec.json.encode(made_with, order="sorted").decode(),
            **(_verdict(sample.judged) if sample.judged else {}),
            **(_pair(sample) if self._options.form is Form.PREFERENCE else {}),
            **self._settings,
            **{f"column_{name}": item.columns.get(name, "") for name in self._own},
        }

    def published(self, row: dict[str, Any]) -> dict[str, Any]:
        """A sample's row as the export holds it; the whole one where provenance is wanted."""
        if self._options.with_provenance:
            return row
        made_with = published_json(row["made_with"])
        shown = {"source": published_name(row["source"], self._sources), "made_with": made_with}
        return {name: value for name, value in (row | shown).items() if name not in PROVENANCE}

    def of_made(self, made: PreparedSample, row: dict[str, Any], near_duplicate_of: str) -> dict[str, Any]:
        """Everything: the sample's row and what its pictures say, in the order of `kinds`."""
        row = row | {
            "openpose": made.pose.openpose if made.pose else "",
            "coco_keypoints": made.pose.coco if made.pose else "[]",
            "perceptual_hash": f"{made.perceptual_hash:016x}",
            "near_duplicate_of": near_duplicate_of,
        }
        if self._options.form is Form.PREFERENCE:
            row["caption"] = row["text"]  # the name by which Diffusion-DPO's training script reads it
        return {name: row[name] for name in self.kinds}


def _verdict(judged: JudgedResult) -> dict[str, Any]:
    return {
        "oks": oks_of(judged),
        "tries": judged.try_number,
        "checks": msgspec.json.encode(judged.figures, order="sorted").decode(),
        "found_keypoints": msgspec.json.encode(judged.found, order="sorted").decode() if judged.found else "",
    }


def _pair(sample: Sample) -> dict[str, Any]:
    """Which side the good image stands on follows from the item's id, so that it teaches nothing."""
    rejected, good = sample.rejected, oks_of(sample.judged) if sample.judged else 0.0
    return {
        "label_0": int(sample.item.id[-1:], 16) % 2,
        "margin": round(good - rejected.oks, 4) if rejected else 0.0,
        "rejected_id": rejected.item_id if rejected else "",
        "rejected_try": rejected.try_number if rejected else 0,
        "rejected_oks": rejected.oks if rejected else 0.0,
        "rejected_sha256": rejected.image.sha256 if rejected else "",
    }


def own_columns(run: Run) -> list[str]:
    """The columns of manifest and matrix that the recipe's prompts name."""
    prompts = run.recipe.get("prompts", [])
    templates = [parse_template(prompt) for prompt in ([prompts] if isinstance(prompts, str) else prompts)]
    return sorted({name for template in templates for name in template.columns} - {CAPTION})


def _columns_of(settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A column for each setting; what is neither number nor text becomes JSON."""
    return {
        f"{stage}_{name}": value if type(value) in _KINDS else msgspec.json.encode(value).decode()
        for stage, values in settings.items()
        for name, value in values.items()
    }
