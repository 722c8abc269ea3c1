"""Poses as stick figures: laid over a photograph, and drawn by themselves."""

from collections.abc import Sequence

from markupsafe import Markup
from PIL import Image, ImageDraw

from posemill.pictures.poses import Keypoints, Pose
from posemill.pictures.skeleton import BODY_COLOURS, BODY_LIMBS, as_hexadecimal

Place = tuple[float, float]
Limb = tuple[Place, Place, str]  # from, to, colour

COLOURS = as_hexadecimal(BODY_COLOURS[: len(BODY_LIMBS)])  # of limbs; brighter than on a control image
OUTLINE = "#000000"
VIEW = 1000  # units of a view box's longer side
LINE = 0.008  # of a drawn picture's longer side, as wide are its lines


def limbs(points: Sequence[Place | None]) -> list[Limb]:
    """The lines between those of a body's 18 keypoints that were found."""
    found = []
    for (start, end), colour in zip(BODY_LIMBS, COLOURS, strict=True):
        a, b = points[start], points[end]
        if a and b:
            found.append((a, b, colour))
    return found


def pose_overlay(pose: Pose, *, kind: str = "") -> Markup:
    """All people of a pose as an <svg> of the photograph's shape, to lie over it; `kind`: a class of its own."""
    scale = VIEW / max(pose.width, pose.height)
    width, height = round(pose.width * scale), round(pose.height * scale)
    lines = [_line(limb, (width, height)) for person in pose.people for limb in limbs(_places(person.body))]
    dots = [_dot(place, (width, height)) for person in pose.people for place in _loose(person.body)]
    names = f"skeleton {kind}" if kind else "skeleton"
    head = f'<svg class="{names}" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
    return Markup(f"{head}{''.join(lines + dots)}</svg>")  # numbers and colours alone: nothing to escape


def draw_pose(picture: Image.Image, pose: Pose, *, thin: bool = False) -> None:
    """The same on a picture, in place."""
    drawing, width = ImageDraw.Draw(picture), 1 if thin else max(2, round(max(picture.size) * LINE))
    scaled = [
        ([(x * picture.width, y * picture.height) for x, y in (start, end)], colour)
        for person in pose.people
        for start, end, colour in limbs(_places(person.body))
    ]
    for line, _ in scaled:
        drawing.line(line, fill=OUTLINE, width=width + 2)
    for line, colour in scaled:
        drawing.line(line, fill=colour, width=width)


def _places(points: Keypoints) -> list[Place | None]:
    return [point and (point[0], point[1]) for point in points]


def _loose(points: Keypoints) -> list[Place]:
    """Keypoints that no line reaches."""
    places = _places(points)
    reached = {place for start, end, _ in limbs(places) for place in (start, end)}
    return [place for place in places if place and place not in reached]


def _line(limb: Limb, size: tuple[int, int]) -> str:
    (x0, y0), (x1, y1), colour = limb
    path = f"M{x0 * size[0]:.0f} {y0 * size[1]:.0f}L{x1 * size[0]:.0f} {y1 * size[1]:.0f}"
    return f'<path d="{path}"/><path d="{path}" style="stroke:{colour}"/>'


def _dot(place: Place, size: tuple[int, int]) -> str:
    path = f"M{place[0] * size[0]:.0f} {place[1] * size[1]:.0f}h0"
    return f'<path d="{path}"/><path d="{path}" style="stroke:#ffffff"/>'
