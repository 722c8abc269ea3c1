"""MoveNet's port computes what the published graph computes, and finds who is there."""

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import skimage.data
import torch
from PIL import Image

from posemill.contract.specs import DetectSpec
from posemill.errors import RunFault
from tests.unit.detecting.reference_pictures import pictures
from workers.detecting.annotators import movenet
from workers.detecting.detectors import load_detector
from workers.detecting.movenet.decoding import decode
from workers.detecting.movenet.network import WEIGHTS, MoveNet, load_movenet
from workers.detecting.movenet.people import find_people
from workers.images.content import Content

REFERENCE = json.loads(gzip.decompress((Path(__file__).parent / "cases" / "movenet_reference.json.gz").read_bytes()))
"""By tools/movenet_reference.mjs, of reference_pictures.py: 6 people, each 17 × (y, x, score), box and score."""


def png(picture):
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def network():
    return load_movenet()


@pytest.fixture(scope="module")
def finding():
    return movenet.load_movenet("cpu")


@pytest.mark.parametrize("name", pictures())
def test_the_port_gives_what_the_graph_gives_in_node(network, name):
    picture, given = pictures()[name], np.array(REFERENCE[name])
    found = decode(network(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()))
    points = given[:, :51].reshape(6, 17, 3)
    pixels = np.abs(points[..., :2] - found.places.numpy()) * picture.shape[:2]
    assert pixels.max() < 0.01
    np.testing.assert_allclose(found.scores.numpy(), points[..., 2], atol=1e-4)
    np.testing.assert_allclose(found.boxes.numpy(), given[:, 51:55], atol=1e-4)
    np.testing.assert_allclose(found.person_scores.numpy(), given[:, 55], atol=1e-4)


def test_the_reference_holds_people_and_a_picture_without():
    best = {name: max(person[55] for person in found) for name, found in REFERENCE.items()}
    assert best.pop("nobody") < 0.05
    assert min(best.values()) > 0.25


def test_a_person_who_is_small_is_found_nearer_by(finding):
    picture = np.full((512, 512, 3), 150, np.uint8)
    picture[400:464, 60:124] = np.repeat(skimage.data.camera()[::8, ::8, None], 3, axis=2)
    box = (60 / 512, 400 / 512, 124 / 512, 464 / 512)
    seen = {
        len(find_people(finding, picture)),
        len(find_people(finding, picture, around=[box])),
    }
    assert seen == {0, 1}
    (person,) = find_people(finding, picture, around=[box])
    places = np.array([(x, y) for x, y, _ in filter(None, person.body)])
    assert ((places > np.array(box[:2]) - 0.01) & (places < np.array(box[2:]) + 0.01)).all()


def test_who_is_seen_twice_is_one_person(finding):
    picture = np.full((512, 512, 3), 150, np.uint8)
    picture[100:356, 100:356] = skimage.data.astronaut()[::2, ::2]
    box = (140 / 512, 100 / 512, 340 / 512, 320 / 512)
    assert len(find_people(finding, picture)) == len(find_people(finding, picture, around=[box, box])) == 1


def test_an_empty_box_and_one_outside_the_picture_show_nobody(finding):
    grey = np.full((128, 128, 3), 150, np.uint8)
    assert find_people(finding, grey, around=[(0.5, 0.5, 0.5, 0.5), (1.5, 1.5, 1.6, 1.6)]) == ()


def test_the_detector_draws_who_it_finds():
    detector = load_detector(DetectSpec(detector="movenet", image_resolution=256))
    one, nobody = detector.detect(
        [Content(png(Image.fromarray(skimage.data.astronaut()))), Content(png(Image.new("RGB", (300, 200), "grey")))]
    )
    (person,) = one.pose.people
    x, y, _ = person.body[0] or (0, 0, 0)
    assert (512 * x, 512 * y) == pytest.approx((221, 124), abs=15), "her nose"
    assert person.body[1] is not None
    assert person.body[1][0] == pytest.approx((person.body[2][0] + person.body[5][0]) / 2)
    assert (one.control_image.size, one.control_image.getbbox() is None) == ((256, 256), False)
    assert nobody.pose.people == ()


def test_finding_and_drawing_need_no_code_of_controlnet_aux():
    code = (
        "import sys\nfrom posemill.contract.specs import DetectSpec\n"
        "from workers.detecting.detectors import load_detector\n"
        "from PIL import Image\n"
        "load_detector(DetectSpec(detector='movenet')).finder.detect([Image.new('RGB', (64, 64))],"
        " DetectSpec(detector='movenet'))\nassert 'controlnet_aux' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_weights_that_ship_fit_the_network_exactly():
    shipped = safetensors.torch.load_file(WEIGHTS)
    assert {value.dtype for value in shipped.values()} == {torch.float16}
    assert {name: value.shape for name, value in shipped.items()} == {
        name: value.shape for name, value in MoveNet().state_dict().items()
    }


def test_missing_weights_are_a_fault_of_the_run(tmp_path):
    with pytest.raises(RunFault, match="posemill-weights"):
        load_movenet(tmp_path / "none.safetensors")
