"""controlnet_aux's annotators, which are called with a picture, as detectors; and those with weights in one file."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from PIL import Image

from posemill.contract.specs import DetectSpec
from workers.detecting.detectors import EachPicture
from workers.detecting.weights import load_weights, required_weights


def called_with(
    annotator: Callable[..., Any], spec: DetectSpec, *, reason: str, least_contrast: int = 1, **settings: Any
) -> EachPicture:
    """A detector that calls the annotator at the spec's resolutions, with settings of its own."""

    def make(picture: Image.Image) -> Image.Image:
        made: Image.Image = annotator(
            picture, detect_resolution=spec.detect_resolution, image_resolution=spec.image_resolution, **settings
        )
        return made

    return EachPicture(make, reason=reason, least_contrast=least_contrast)


def load_annotator(kind: Any, name: str, spec: DetectSpec, device: str) -> Any:
    """An annotator with its file of weights. Raises RunFault when they cannot be loaded."""
    return _loaded(kind, name, required_weights(spec), spec.revision, device)


@lru_cache(maxsize=3)  # detectors of one run that share a network, depth and normal for instance, hold it once
def _loaded(kind: Any, name: str, source: str, revision: str | None, device: str) -> Any:
    found = load_weights(lambda folder, file: kind.from_pretrained(folder, filename=file), source, name, revision)
    return found.to(device)
