"""The drawn world: a pose and a request become a picture and the control image of the same pose."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.embedded.background import draw_background
from tools.embedded.figure import Painter, draw_person, random_style
from tools.embedded.palette import BACKGROUNDS, CLOTHES
from tools.embedded.pose import Frame, Pose, body_unit, random_people
from tools.embedded.words import PLACES, Request, random_request

ZOOM = 3  # pictures are drawn this much larger, then averaged down
CONTROL_SHORT_SIDE = 512  # what OpenposeDetector draws at


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One sample of the world."""

    people: list[Pose]
    request: Request
    picture: NDArray[np.uint8]  # (height, width, 3)
    control: NDArray[np.uint8]  # (height, width, 3)


def draw_picture(people: list[Pose], request: Request, frame: Frame, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw the people, dressed alike, where the request puts them; the nearest last."""
    place = PLACES[request.place]
    canvas = draw_background(BACKGROUNDS[place.colour], place.pattern, frame.width * ZOOM, frame.height * ZOOM, rng)
    painter = Painter(np.ascontiguousarray(canvas), ZOOM)
    for pose in sorted(people, key=body_unit):
        draw_person(painter, pose, random_style(CLOTHES[request.clothes], rng))
    return cv2.resize(painter.canvas, (frame.width, frame.height), interpolation=cv2.INTER_AREA)


def draw_control(people: list[Pose], frame: Frame) -> Image.Image:
    """Draw the poses as controlnet_aux does, on a canvas of 512 pixels on the short side."""
    from controlnet_aux.open_pose.body import Keypoint
    from controlnet_aux.open_pose.util import draw_bodypose

    scale = CONTROL_SHORT_SIDE / min(frame.width, frame.height)
    canvas = np.zeros((round(frame.height * scale), round(frame.width * scale), 3), np.uint8)
    for pose in people:
        relative = pose / (frame.width, frame.height)
        draw_bodypose(canvas, [None if np.isnan(x) else Keypoint(x=float(x), y=float(y)) for x, y in relative])
    return Image.fromarray(canvas)


def shrink(control: Image.Image, frame: Frame) -> NDArray[np.uint8]:
    """Resize a control image as diffusers' image processor does before the ControlNet sees it."""
    return np.asarray(control.resize((frame.width, frame.height), Image.Resampling.LANCZOS))


def draw_sample(frame: Frame, seed: tuple[int, ...]) -> Drawing:
    """Draw the sample of a seed: random people in a random request."""
    rng = np.random.default_rng(seed)
    people, request = random_people(frame, rng), random_request(rng)
    return Drawing(
        people=people,
        request=request,
        picture=draw_picture(people, request, frame, rng),
        control=shrink(draw_control(people, frame), frame),
    )
