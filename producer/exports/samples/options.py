"""What the user chose for an export; written beside it, because another choice is another data set."""

from enum import StrEnum

import msgspec

from posemill.catalogue.checks import CHECKS
from posemill.contract.records import Run
from posemill.errors import BadInput
from producer.exports.samples.filters import parse_filter


class Form(StrEnum):
    """The layout of a data set."""

    WEBDATASET = "webdataset"
    PARQUET = "parquet"
    IMAGEFOLDER = "imagefolder"
    FILL50K = "fill50k"
    PREFERENCE = "preference"


class ImageFormat(StrEnum):
    """How images are encoded; control images are always PNG, whose lines stay sharp."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def suffix(self) -> str:
        """The ending of a file's name in this format, without the dot."""
        return "jpg" if self is ImageFormat.JPEG else self.value


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """All that shapes the bytes of an export. Raises BadInput when made with values that cannot be."""

    form: Form = Form.IMAGEFOLDER
    shard_size: int = 1000  # samples
    image_format: ImageFormat = ImageFormat.PNG
    quality: int = 95  # of JPEG and WebP, 1..100
    where: str = ""  # a filter; see filters.py
    validation: float = 0.0  # share of the sources
    test: float = 0.0
    drop_near_duplicates: bool = False  # an image that is near one taken before is left out
    relabel: bool = False  # keypoints are those that the judge found in the image, not the control's
    captions: bool = False  # the text is the manifest's caption where it has one
    with_source: bool = False  # also the source image
    with_provenance: bool = False  # also workers, clocks and addresses; see published.py

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise BadInput(f"a shard of {self.shard_size} samples cannot be; give 1 or more")
        if not 1 <= self.quality <= 100:
            raise BadInput(f"quality {self.quality} is outside 1..100")
        if not (0 <= self.validation <= 1 and 0 <= self.test <= 1 and self.validation + self.test <= 1):  # nan neither
            raise BadInput("the shares of validation and test lie between 0 and 1, and so does their sum")
        parse_filter(self.where)


def require_judged(options: Options, run: Run) -> None:
    """Raises BadInput where the choice needs poses that a judge has found, and the run has none."""
    choice = "--relabel" if options.relabel else "--format preference" if options.form is Form.PREFERENCE else ""
    finds = run.verify is not None and any(one.check in CHECKS and CHECKS[one.check].looks_for_people
                                           for one in run.verify.checks)  # fmt: skip
    if choice and not finds:
        raise BadInput(f"{choice} needs a run whose images were judged by their poses: posemill verify {run.id}")
