"""What is where: UperNet's classes in the 150 colours of ADE20K, through transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from controlnet_aux.util import HWC3, ade_palette, resize_image
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, UperNetForSemanticSegmentation

from posemill.contract.specs import DetectSpec
from posemill.errors import RunFault
from posemill.hub.fetching import fetch
from posemill.hub.needs import Layout, Need
from workers.detecting.annotators.posing import control_size
from workers.detecting.detectors import Detector, EachPicture
from workers.detecting.weights import CANNOT_LOAD, required_weights

PALETTE: NDArray[np.uint8] = np.array(ade_palette(), dtype=np.uint8)  # [class, RGB]


def build(spec: DetectSpec, device: str) -> Detector:
    """UperNet's classes of ADE20K in their colours. Raises RunFault."""
    source = required_weights(spec)
    try:
        processor, network = _load(source, spec.revision)
    except CANNOT_LOAD as error:
        raise RunFault(f"the segmentation model {source!r} cannot be loaded: {error}") from error
    network.to(device)

    def classes(picture: Image.Image) -> Image.Image:
        """Scaled by the nearest pixel, because a blend of two colours is a third class."""
        canvas = Image.fromarray(resize_image(HWC3(np.asarray(picture)), spec.detect_resolution))
        size = control_size(canvas.width, canvas.height, spec.image_resolution)
        return segmented(processor, network, canvas).resize(size, Image.Resampling.NEAREST)

    return EachPicture(classes, reason="one_class")


def segmented(processor: Any, network: Any, picture: Image.Image) -> Image.Image:
    """The picture's classes in ADE20K's colours, as large as the picture."""
    with torch.inference_mode():
        values = processor(picture, return_tensors="pt").pixel_values.to(network.device)
        found = network(values)
    (labels,) = processor.post_process_semantic_segmentation(found, target_sizes=[(picture.height, picture.width)])
    return Image.fromarray(PALETTE[labels.cpu().numpy()])


def _load(source: str, revision: str | None) -> tuple[Any, Any]:
    if not Path(source).is_dir():
        need = Need(model=source, revision=revision, layout=Layout.NETWORK, allow_pickle=True)
        source = str(fetch(need, half=False).folder)
    processor = AutoImageProcessor.from_pretrained(source)
    network = UperNetForSemanticSegmentation.from_pretrained(source).eval()
    if network.config.num_labels != len(PALETTE):
        raise ValueError(f"it tells {network.config.num_labels} classes apart, and ADE20K has {len(PALETTE)}")
    return processor, network
