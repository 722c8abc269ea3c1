"""Files of weights: found in a folder or fetched from the hub, and loaded by the library's own code."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from posemill.catalogue.detectors import CARD_FOLDER, CARD_WEIGHTS
from posemill.contract.specs import DetectSpec
from posemill.errors import RunFault
from workers.models.hub_models import fetched_file

T = TypeVar("T")
CANNOT_LOAD = (OSError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError)


def load_weights(load: Callable[[str, str], T], source: str, name: str, revision: str | None) -> T:
    """What `load` makes of the folder and the name of a file of weights. Raises RunFault when it cannot.

    torch.load reads .pth and .pt files with weights_only=True (its default), so they cannot run code.
    """
    try:
        path = weights_file(source, name, revision)
        return load(str(path.parent), path.name)
    except CANNOT_LOAD as error:
        raise RunFault(
            f"the weights {name} of {source!r} (revision {revision}) cannot be loaded: {error};"
            f" give a hub id or a folder with {name}"
        ) from error


def required_weights(spec: DetectSpec) -> str:
    """The hub id or folder of a detector's weights; `load_detector` takes the table's where none are given."""
    assert spec.weights is not None, f"{spec.detector} has no weights in posemill/catalogue/detectors.py"
    return spec.weights


def weights_file(source: str, name: str, revision: str | None) -> Path:
    """A file in a folder, or of a hub repository; a folder's revision is only its digest."""
    if Path(source).is_dir():
        path = Path(source) / name
        if not path.is_file():
            raise FileNotFoundError(f"{source} has no {name}")
        return path
    prefix = CARD_FOLDER if source == CARD_WEIGHTS else ""
    return fetched_file(source, prefix + name, revision)
