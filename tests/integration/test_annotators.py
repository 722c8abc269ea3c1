"""Every detector gives what a direct call of its library gives, and says why when there is nothing to give."""

import io
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from controlnet_aux import CannyDetector, HEDdetector, MidasDetector, MLSDdetector
from controlnet_aux.util import ade_palette, resize_image
from PIL import Image

from posemill.catalogue.detectors import DETECTORS
from posemill.contract.specs import DetectSpec
from posemill.errors import RecipeError, RunFault
from posemill.pictures.decoding import PictureError
from tests import drawn_weights
from workers.detecting.annotators import dwpose
from workers.detecting.annotators.posing import PoseDetector
from workers.detecting.detectors import Detection, EachPicture, contrast, load_detector
from workers.images.content import Content

CASES = Path(__file__).parents[1] / "unit" / "cases"

PHOTOGRAPHS = ("astronaut", "camera", "coffee", "chelsea")
SMALL = {"detect_resolution": 128, "image_resolution": 192}


def photograph(name: str = "astronaut") -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def png(picture: Image.Image) -> Content:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return Content(buffer.getvalue())


def detected(spec: DetectSpec, picture: Image.Image) -> Detection:
    (found,) = load_detector(spec).detect([png(picture)])
    assert isinstance(found, Detection), found
    return found


def same(ours: Image.Image, theirs: Image.Image) -> bool:
    return (ours.mode, ours.size, ours.tobytes()) == (theirs.mode, theirs.size, theirs.tobytes())


@pytest.fixture(scope="session")
def midas(tmp_path_factory):
    return drawn_weights.write_midas(tmp_path_factory.mktemp("midas"))


@pytest.fixture(scope="session")
def hed(tmp_path_factory):
    return drawn_weights.write_hed(tmp_path_factory.mktemp("hed"))


@pytest.fixture(scope="session")
def wholebody(tmp_path_factory):
    return drawn_weights.write_dwpose(tmp_path_factory.mktemp("dwpose"))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_canny_on_a_real_photograph_is_the_librarys_byte_for_byte(name):
    theirs = CannyDetector()(photograph(name))
    assert contrast(theirs) == 255
    assert same(detected(DetectSpec(detector="canny"), photograph(name)).control_image, theirs)


@pytest.mark.parametrize("size", [(640, 360), (300, 500), (70, 64)])
def test_canny_heeds_its_thresholds_and_both_resolutions_as_the_library_does(size):
    picture = photograph().resize(size)
    more = {"low_threshold": 40, "high_threshold": 90, "detect_resolution": 384, "image_resolution": 640}
    ours = detected(DetectSpec(detector="canny", **more), picture)
    assert same(ours.control_image, CannyDetector()(picture, **more))
    assert not same(ours.control_image, CannyDetector()(picture, detect_resolution=384, image_resolution=640))


def test_depth_and_normal_are_midas_s_own(midas):
    library = MidasDetector.from_pretrained(str(midas))
    depth, normal = library(photograph(), depth_and_normal=True, **SMALL)
    ours = {name: detected(DetectSpec(detector=name, weights=str(midas), **SMALL), photograph())
            for name in ("depth", "normal")}  # fmt: skip
    assert contrast(depth) > 0
    assert same(ours["depth"].control_image, depth)
    assert same(ours["normal"].control_image, normal)
    far = detected(DetectSpec(detector="normal", weights=str(midas), bg_th=0.9, **SMALL), photograph())
    assert same(far.control_image, library(photograph(), bg_th=0.9, depth_and_normal=True, **SMALL)[1])


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize(("name", "scribble"), [("hed", False), ("scribble", True)])
def test_contours_and_scribbles_are_hed_s_own(hed, name, scribble, safe):
    theirs = HEDdetector.from_pretrained(str(hed))(photograph(), scribble=scribble, safe=safe, **SMALL)
    ours = detected(DetectSpec(detector=name, weights=str(hed), safe=safe, **SMALL), photograph())
    assert contrast(theirs) > 8
    assert same(ours.control_image, theirs)


def test_lines_are_m_lsd_s_own(tmp_path):
    drawn_weights.write_mlsd(tmp_path)
    more = {"thr_v": 0.05, "thr_d": 0.01, **SMALL}
    theirs = MLSDdetector.from_pretrained(str(tmp_path))(photograph(), **more)
    assert contrast(theirs) > 0
    assert same(
        detected(DetectSpec(detector="mlsd", weights=str(tmp_path), **more), photograph()).control_image, theirs
    )


def segmented_directly(folder, picture: Image.Image) -> np.ndarray:
    """As the checkpoint's card does it, colour by colour."""
    from transformers import AutoImageProcessor, UperNetForSemanticSegmentation

    processor = AutoImageProcessor.from_pretrained(folder)
    network = UperNetForSemanticSegmentation.from_pretrained(folder)
    with torch.no_grad():
        outputs = network(processor(picture, return_tensors="pt").pixel_values)
    (classes,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[picture.size[::-1]])
    colours = np.zeros((*classes.shape, 3), dtype=np.uint8)
    for number, colour in enumerate(ade_palette()):
        colours[classes == number, :] = colour
    return colours


def test_classes_are_upernet_s_own_in_the_colours_of_ade20k(tmp_path):
    """A network of upernet-convnext-small's size."""
    drawn_weights.write_upernet(tmp_path, depths=(3, 3, 27, 3), hidden_sizes=(96, 192, 384, 768), hidden=512)
    canvas = Image.fromarray(resize_image(np.asarray(photograph()), 128))
    theirs = segmented_directly(tmp_path, canvas)
    spec = DetectSpec(detector="seg", weights=str(tmp_path), detect_resolution=128, image_resolution=128)
    ours = detected(spec, photograph())
    assert len(np.unique(theirs.reshape(-1, 3), axis=0)) > 1
    assert np.array_equal(np.asarray(ours.control_image), theirs)
    large = detected(
        DetectSpec(detector="seg", weights=str(tmp_path), detect_resolution=128), photograph()
    ).control_image
    assert set(large.getdata()) <= set(map(tuple, ade_palette()))


def test_whole_bodies_are_rtmlib_s_own_drawn_as_openpose_draws(wholebody):
    import rtmlib

    canvas = resize_image(np.asarray(photograph()), 256)
    bgr = np.ascontiguousarray(canvas[:, :, ::-1])
    boxes, classes = rtmlib.YOLOX(str(wholebody / dwpose.DETECTOR), (64, 64), det_mode="multiclass",
                                  backend="onnxruntime")(bgr)  # fmt: skip
    assert sorted(classes) == [drawn_weights.PERSON, drawn_weights.CHAIR]
    places, scores = rtmlib.RTMPose(str(wholebody / dwpose.ESTIMATOR), (48, 64), to_openpose=True)(
        bgr, bboxes=boxes[classes == drawn_weights.PERSON]
    )
    shares = np.concatenate((places / canvas.shape[1::-1], scores[..., None]), axis=-1)
    (theirs,) = rtmlib.Wholebody.format_result(shares)

    both = {"include_hand": True, "include_face": True}
    spec = DetectSpec(detector="dwpose", weights=str(wholebody), detect_resolution=256, image_resolution=256, **both)
    ours = detected(spec, photograph())
    (person,) = ours.pose.people
    for mine, other in ((person.body, theirs.body.keypoints), (person.hand_left, theirs.left_hand),
                        (person.hand_right, theirs.right_hand), (person.face, theirs.face)):  # fmt: skip
        assert [point is None for point in mine] == [point is None for point in other]
        found = [(point.x, point.y) for point in other if point]
        assert found
        np.testing.assert_allclose([point[:2] for point in mine if point], found)
    assert contrast(ours.control_image) > 0
    assert not same(ours.control_image, _bodies_alone(ours))


def _bodies_alone(found: Detection) -> Image.Image:
    from workers.detecting.annotators.posing import draw

    return draw(found.pose, resolution=256)


def test_where_no_person_is_boxed_nobody_is_estimated(wholebody, monkeypatch):
    detector = load_detector(DetectSpec(detector="dwpose", weights=str(wholebody)))
    assert isinstance(detector, PoseDetector)
    monkeypatch.setattr(detector.finder, "_people", lambda bgr: np.zeros((0, 4)))
    (found,) = detector.detect([png(photograph("coffee"))])
    assert found.pose.people == ()


@pytest.mark.parametrize("detector", ["openpose", "depth", "normal", "hed", "scribble", "mlsd", "seg", "dwpose"])
def test_a_folder_without_weights_is_a_fault_that_names_it(detector, tmp_path):
    with pytest.raises(RunFault, match="cannot be loaded") as raised:
        load_detector(DetectSpec(detector=detector, weights=str(tmp_path)))
    assert str(tmp_path) in str(raised.value)


def test_files_that_are_no_models_are_a_fault(tmp_path):
    for name in (dwpose.DETECTOR, dwpose.ESTIMATOR, "ControlNetHED.pth"):
        (tmp_path / name).write_bytes(b"no model")
    for detector in ("dwpose", "hed"):
        with pytest.raises(RunFault, match="cannot be loaded"):
            load_detector(DetectSpec(detector=detector, weights=str(tmp_path)))


@pytest.mark.parametrize("name", [name for name, row in DETECTORS.items() if not row.takes_weights])
def test_weights_that_nobody_would_look_at_are_refused(name):
    with pytest.raises(RecipeError, match="takes no weights"):
        load_detector(DetectSpec(detector=name, weights="a/b"))


def test_a_picture_without_an_edge_is_rejected_as_that():
    assert detected(DetectSpec(detector="canny"), Image.new("RGB", (300, 200), "grey")).reason == "no_edges"


def test_a_ready_made_map_keeps_its_colours_and_one_of_the_right_size_every_pixel():
    drawing = Image.new("RGB", (512, 512), "black")
    drawing.paste("white", (100, 100, 300, 110))
    spec = DetectSpec(detector="as-is")
    assert same(detected(spec, drawing).control_image, drawing)
    scaled = detected(spec, drawing.resize((700, 1000), Image.Resampling.NEAREST)).control_image
    assert (scaled.size, set(scaled.getdata())) == ((512, 704), {(0, 0, 0), (255, 255, 255)})
    assert detected(spec, Image.new("RGB", (64, 64), "white")).reason == "blank"


@pytest.mark.parametrize(("difference", "reason"), [(0, "flat"), (7, "flat"), (8, "")])
def test_a_control_image_with_too_little_contrast_is_rejected(difference, reason):
    made = Image.new("RGB", (8, 8), (100, 100, 100))
    made.putpixel((3, 3), (100, 100 + difference, 100))
    (found,) = EachPicture(lambda picture: made, reason="flat", least_contrast=8).detect([png(photograph())])
    assert found.reason == reason


def test_a_source_that_is_no_picture_takes_no_neighbour_along():
    first, wrong, last = load_detector(DetectSpec(detector="canny")).detect(
        [png(photograph()), Content(b"no picture"), png(photograph("camera"))]
    )
    assert isinstance(wrong, PictureError)
    assert [first.reason, last.reason] == ["", ""]


def test_a_revision_is_asked_of_the_hub_for_the_file_that_the_card_names(monkeypatch, midas, hed):
    """Once for two detectors with one network, and of the table's repository where the recipe names none."""
    from workers.detecting import weights
    from workers.detecting.annotators import calling

    asked = []

    def download(repository, name, revision=None):
        asked.append((repository, name, revision))
        return (hed if name.startswith("ControlNetHED") else midas) / name.rsplit("/", maxsplit=1)[-1]

    calling._loaded.cache_clear()
    monkeypatch.setattr(weights, "fetched_file", download)
    for detector in ("hed", "scribble"):
        load_detector(DetectSpec(detector=detector, weights="lllyasviel/Annotators", revision="abc"))
    for detector in ("depth", "normal"):
        load_detector(DetectSpec(detector=detector, revision="abc"))
    assert asked == [
        ("lllyasviel/Annotators", "ControlNetHED.pth", "abc"),
        ("lllyasviel/ControlNet", "annotator/ckpts/dpt_hybrid-midas-501f0c75.pt", "abc"),
    ]


def test_a_ready_made_map_is_laid_over_black_and_a_photograph_over_white():
    transparent, opaque = (Content((CASES / name).read_bytes()) for name in ("transparent.png", "black.png"))
    as_is = load_detector(DetectSpec(detector="as-is"))
    first, second = as_is.detect([transparent, opaque])
    assert same(first.control_image, second.control_image)
    assert transparent.picture.getpixel((0, 0)) == (255, 255, 255)
