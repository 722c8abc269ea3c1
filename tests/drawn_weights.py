"""Weights of the true architectures and file names, drawn from a fixed seed: real ones are not shipped."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

SEED = 11
FACE, PERSON, CHAIR = 1.5, 0, 56
"""How far scores reach; COCO's numbers of two classes."""


def write_openpose(folder: Path) -> Path:
    """Body, hands and face, 380 MB in all. Nobody is found by them, but a face wherever one is looked for."""
    from controlnet_aux.open_pose.face import FaceNet
    from controlnet_aux.open_pose.model import bodypose_model, handpose_model

    torch.manual_seed(0)
    face = FaceNet()
    torch.nn.init.constant_(list(face.modules())[-1].bias, 1.0)
    for name, network in (("body_pose_model", bodypose_model()), ("hand_pose_model", handpose_model())):
        weights = {key.split(".", 1)[1]: value.half() for key, value in network.state_dict().items()}
        torch.save(weights, folder / f"{name}.pth")
    torch.save(face.state_dict(), folder / "facenet.pth")
    return folder


def write_midas(folder: Path) -> Path:
    """DPT-hybrid, 490 MB."""
    from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

    torch.manual_seed(SEED)
    network = DPTDepthModel(backbone="vitb_rn50_384", non_negative=True)
    torch.nn.init.constant_(network.scratch.output_conv[4].bias, 1.0)  # else the last ReLU may leave nothing
    torch.save(network.state_dict(), folder / "dpt_hybrid-midas-501f0c75.pt")
    return folder


def write_hed(folder: Path) -> Path:
    from controlnet_aux.hed import ControlNetHED_Apache2

    torch.manual_seed(SEED)
    network = ControlNetHED_Apache2()
    torch.nn.init.constant_(network.norm, 120.0)
    for block in (network.block1, network.block2, network.block3):
        torch.nn.init.normal_(block.projection.weight, std=0.05)
    torch.save(network.state_dict(), folder / "ControlNetHED.pth")
    return folder


def write_mlsd(folder: Path) -> Path:
    from controlnet_aux.mlsd.models.mbv2_mlsd_large import MobileV2_MLSD_Large

    torch.manual_seed(SEED)
    torch.save(MobileV2_MLSD_Large().state_dict(), folder / "mlsd_large_512_fp32.pth")
    return folder


def write_upernet(folder: Path, *, depths: tuple[int, ...], hidden_sizes: tuple[int, ...], hidden: int) -> Path:
    """UperNet over ConvNeXt for ADE20K's 150 classes; upernet-convnext-small is (3, 3, 27, 3), (96 … 768), 512."""
    from transformers import ConvNextConfig, SegformerImageProcessor, UperNetConfig, UperNetForSemanticSegmentation

    torch.manual_seed(SEED)
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = ConvNextConfig(depths=list(depths), hidden_sizes=list(hidden_sizes), out_features=stages)
    config = UperNetConfig(
        backbone_config=backbone, num_labels=150, hidden_size=hidden, auxiliary_in_channels=hidden_sizes[2]
    )
    network = UperNetForSemanticSegmentation(config)
    torch.nn.init.normal_(network.decode_head.classifier.weight, std=1.0)  # so that classes compete
    network.save_pretrained(folder)
    SegformerImageProcessor(size={"height": 128, "width": 128}).save_pretrained(folder)
    return folder


def write_dwpose(folder: Path) -> Path:
    """Two small ONNX files with DWPose's names, inputs and outputs.

    The first finds one person and one chair at fixed places, the second reads keypoints off the picture's colours.
    """
    onnx.save(_finder(), folder / "yolox_l.onnx")
    onnx.save(_estimator(), folder / "dw-ll_ucoco_384.onnx")
    return folder


def _finder() -> onnx.ModelProto:
    """Pictures 1×3×64×64 to 84 anchors of 85: offsets, logarithms of sizes, a score, a score for each class."""
    anchors = np.zeros((1, 84, 85), np.float32)
    anchors[0, 3 * 8 + 3, :5] = (0.5, 0.5, np.log(5), np.log(6), 0.95)
    anchors[0, 3 * 8 + 3, 5 + PERSON] = 0.95
    anchors[0, 6 * 8 + 6, :5] = (0.5, 0.5, np.log(2), np.log(2), 0.95)
    anchors[0, 6 * 8 + 6, 5 + CHAIR] = 0.95
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "nothing"], ["zero"]),
        helper.make_node("Unsqueeze", ["zero", "axis"], ["zeros"]),
        helper.make_node("Add", ["zeros", "anchors"], ["output"]),
    ]
    weights = {"nothing": np.zeros((3, 1), np.float32), "axis": np.array([1]), "anchors": anchors}
    return _model(nodes, weights, (1, 3, 64, 64), {"output": (1, 84, 85)})


def _estimator() -> onnx.ModelProto:
    """Pictures 1×3×64×48 to 133 keypoints' scores along each axis, at half pixels."""
    draw = np.random.default_rng(SEED)
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
    ]
    weights = {}
    for axis, length in (("simcc_x", 96), ("simcc_y", 128)):
        weights[f"{axis}_weight"] = draw.normal(0, 0.05, (3, 133 * length)).astype(np.float32)
        weights[f"{axis}_bias"] = draw.normal(-0.6, 0.4, 133 * length).astype(np.float32)
        weights[f"{axis}_shape"] = np.array([1, 133, length])
        nodes += [
            helper.make_node("Gemm", ["flat", f"{axis}_weight", f"{axis}_bias"], [f"{axis}_flat"]),
            helper.make_node("Reshape", [f"{axis}_flat", f"{axis}_shape"], [axis]),
        ]
    return _model(nodes, weights, (1, 3, 64, 48), {"simcc_x": (1, 133, 96), "simcc_y": (1, 133, 128)})


def _model(nodes, weights, shape, outputs) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "drawn",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model
