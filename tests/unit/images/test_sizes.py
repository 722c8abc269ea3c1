"""A picture's size follows recipe, model or control image, and its control image is never distorted."""

import pytest
from PIL import Image

from posemill.contract.specs import ControlNetSpec, GenerateSpec
from posemill.pictures.shapes import fitted
from workers.images.sizes import picture_size


def spec(**more) -> GenerateSpec:
    return GenerateSpec(model="m", base="b", controlnets=(ControlNetSpec(controlnet="c"),), **more)


@pytest.mark.parametrize(
    ("control", "settings", "size"),
    [
        pytest.param((512, 768), {}, (512, 768), id="as the control image"),
        pytest.param((519, 775), {}, (512, 768), id="down to multiples of eight"),
        pytest.param((5, 700), {}, (8, 696), id="at least eight"),
        pytest.param((512, 768), {"resolution": 128}, (128, 192), id="short side is the resolution"),
        pytest.param((768, 512), {"resolution": 128}, (192, 128), id="landscape"),
        pytest.param((500, 700), {"resolution": 128}, (128, 176), id="to the nearest multiple of sixteen"),
        pytest.param((512, 768), {"width": 640, "height": 384}, (640, 384), id="as the recipe says"),
        pytest.param((512, 768), {"width": 64, "height": 64, "resolution": 128}, (64, 64), id="the recipe wins"),
    ],
)
def test_a_picture_is_as_large_as_asked_for(control, settings, size):
    assert picture_size(control, spec(**settings)) == size


def test_a_control_image_of_the_right_shape_is_left_alone():
    control = Image.new("RGB", (512, 768))
    assert fitted(control, (128, 192)) is control


@pytest.mark.parametrize(
    ("given", "size", "canvas", "corner"),
    [
        pytest.param((100, 200), (64, 64), (200, 200), (50, 0), id="bars left and right"),
        pytest.param((200, 100), (64, 64), (200, 200), (0, 50), id="bars above and below"),
        pytest.param((100, 100), (64, 128), (100, 200), (0, 50), id="square into portrait"),
    ],
)
def test_another_shape_is_filled_up_with_black_around_the_middle(given, size, canvas, corner):
    drawn = fitted(Image.new("RGB", given, "white"), size)
    assert drawn.size == canvas
    assert drawn.getbbox() == (*corner, corner[0] + given[0], corner[1] + given[1])
