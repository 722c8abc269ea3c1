"""Folders of CLIP networks, and pictures as those networks want them; for the checks that look with one."""

from typing import Any

from PIL import Image

from posemill.contract.records import CheckSpec
from posemill.hub.fetching import fetch
from posemill.hub.needs import needs_of_check
from workers.judging.check import Models
from workers.models.hub_models import is_on_hub


def network_folder(check: CheckSpec, models: Models) -> str:
    """Where a check's network lies on this machine, fetched where it is not. Raises RunFault, and HubAway."""
    (need,) = needs_of_check(check, models.commits)
    place = models.folders.place(need.model)
    return str(fetch(need, half=False).folder) if is_on_hub(place) else place


def load_processor(folder: str) -> Any:
    """What turns a picture into a network's input, by the settings that lie beside the weights."""
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor.from_pretrained(folder)


def pixel_values(processor: Any, picture: Image.Image, device: str) -> Any:
    """One picture as a network's input."""
    return processor(picture, return_tensors="pt").pixel_values.to(device)
