"""The map of poses as pictures for a page: stick figures where the poses lie, and one for each cluster."""

from collections.abc import Sequence

from markupsafe import Markup

from producer.exports.counts.poses_seen import SeenPose
from producer.exports.report.pose_map import Cluster, PoseMap
from producer.sheets.skeletons import limbs

WIDTH, HEIGHT, FIGURE = 640, 480, 62  # units of the map, and a figure's side
ROOM = 0.8  # of a figure's side is kept free around its middle
LARGEST_DOT = 9.0
Place = tuple[float, float]


def pose_map_svg(found: PoseMap) -> Markup:
    """The plane; poses of most images have a figure, and where there is no room for one a dot."""
    places = _fitted(found.places)
    order = sorted(range(len(places)), key=lambda number: (-found.images[number], number))
    figures = _apart(order, places)
    dots = [_dot(places[n], found.members[n], found.images[n]) for n in order if n not in figures]
    drawn = [_figure(found.poses[n], found.members[n], places[n]) for n in order if n in figures]
    return Markup(
        f'<svg class="poses" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Map of poses">'
        f"{''.join(dots)}{''.join(drawn)}</svg>"
    )


def cluster_svg(cluster: Cluster, number: int) -> Markup:
    """The pose in a cluster's middle."""
    figure = _figure(cluster.pose, number, (FIGURE / 2, FIGURE / 2))
    label = f"A pose of {cluster.images} images"
    return Markup(f'<svg class="poses" viewBox="0 0 {FIGURE} {FIGURE}" role="img" aria-label="{label}">{figure}</svg>')


def _fitted(places: Sequence[Place]) -> list[Place]:
    """Spread over the whole map."""
    xs, ys = [place[0] for place in places], [place[1] for place in places]
    return list(zip(_spread(xs, WIDTH), _spread(ys, HEIGHT), strict=True))


def _spread(values: Sequence[float], room: int) -> list[float]:
    low, high = min(values), max(values)
    return [FIGURE / 2 + (value - low) / ((high - low) or 1.0) * (room - FIGURE) for value in values]


def _apart(order: Sequence[int], places: Sequence[Place]) -> set[int]:
    """The first in this order that have room."""
    chosen: list[int] = []
    least = (ROOM * FIGURE) ** 2
    for number in order:
        x, y = places[number]
        if all((x - places[other][0]) ** 2 + (y - places[other][1]) ** 2 >= least for other in chosen):
            chosen.append(number)
    return set(chosen)


def _dot(place: Place, member: int, images: int) -> str:
    size = min(LARGEST_DOT, 2 + images**0.5)
    return f'<circle class="p{member}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{size:.1f}"/>'


def _figure(pose: SeenPose, member: int, place: Place) -> str:
    """Keypoints lie in a box of side 1 around the person's middle."""
    pairs = zip(pose.points[::2], pose.points[1::2], strict=True)
    points = [None if x is None or y is None else (place[0] + x * FIGURE, place[1] + y * FIGURE) for x, y in pairs]
    path = "".join(f"M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}" for a, b, _ in limbs(points))
    return f'<path class="p{member}" d="{path}"/>'
