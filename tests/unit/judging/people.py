"""People for tests: drawn at random, moved, and with keypoints taken away."""

import numpy as np

from posemill.pictures.poses import BODY_KEYPOINTS, Person

SIZE = (640, 480)


def random_person(random, *, centre=(0.5, 0.5), spread=0.15, missing=0.0):
    """A person whose keypoints are strewn around a place; a share of them is missing, never all."""
    places = np.clip(random.normal(centre, spread, (len(BODY_KEYPOINTS), 2)), 0.0, 1.0)
    kept = random.random(len(BODY_KEYPOINTS)) >= missing
    kept[random.integers(2, len(BODY_KEYPOINTS))] = True  # none of COCO's would be nobody
    return Person(
        body=tuple((float(x), float(y), 1.0) if keep else None for (x, y), keep in zip(places, kept, strict=True))
    )


def moved(person, dx=0.0, dy=0.0):
    """The same person elsewhere; shares of the canvas."""
    return Person(body=tuple(point and (point[0] + dx, point[1] + dy, point[2]) for point in person.body))


def without(person, *names):
    """The same person without some keypoints."""
    return Person(
        body=tuple(None if name in names else point for name, point in zip(BODY_KEYPOINTS, person.body, strict=True))
    )


def only(person, *names):
    """The same person with these keypoints alone."""
    return without(person, *(set(BODY_KEYPOINTS) - set(names)))
