"""Reads COCO keypoint annotations: each image's people, found by the names that its categories give their keypoints.

What cannot be used costs its image alone. Ids and sizes are read as what they plainly mean: 7.0 and "7" are 7.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from posemill.pictures.coco_order import between
from posemill.pictures.poses import BODY_KEYPOINTS, COCO_KEYPOINTS, Keypoint, Person, Pose, PoseFormatError

PERSON = "person"  # the category whose keypoints have COCO's order where the file names none
NEEDED = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist"))
ANIMAL = frozenset((
    "tail", "tailbase", "paw", "hoof", "withers", "wing", "beak", "muzzle", "snout", "fin", "horn", "tailset", "udder",
))  # fmt: skip  # words that no person's keypoint is called by
SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}
JOINTS = frozenset(("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "eye", "ear"))
LARGEST_SIDE = 100_000

Found = dict[str, Keypoint | None]
"""A person's keypoints by their names here, in pixels."""


def poses_from_coco(document: object) -> Iterator[tuple[str, Pose | PoseFormatError]]:
    """Each image's file name (its id where it has none) and pose, or why there is none.

    Crowds and annotations without a labelled keypoint are left out; an image without annotated people gives a pose
    without people. A keypoint that is hidden but labelled (visibility 1) counts as found. What belongs to no image
    comes last. Raises PoseFormatError when the file as a whole is no COCO file.
    """
    images, annotations, categories = _parts(document)
    skeletons = _Skeletons(categories)
    annotated: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    homeless: dict[str, PoseFormatError] = {}
    for index, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            homeless[f"annotations[{index}]"] = PoseFormatError(f"annotations[{index}] is no object")
        elif (identity := _identity(annotation.get("image_id"))) is None:
            homeless[f"annotations[{index}]"] = PoseFormatError(f"annotations[{index}] has no image_id")
        else:
            annotated[identity].append((index, annotation))
    seen: set[str] = set()
    for index, image in enumerate(images):
        yield _name(image, index), _result(image, index, annotated, skeletons, seen)
    for identity in annotated.keys() - seen:
        first = annotated[identity][0][0]
        homeless[f"annotations[{first}]"] = PoseFormatError(f"annotations[{first}]: no image has the id {identity}")
    yield from sorted(homeless.items())


def _parts(document: object) -> tuple[list[Any], list[Any], list[Any]]:
    if not isinstance(document, dict):
        raise PoseFormatError("not a COCO keypoints file: it is no object")
    for name in ("images", "annotations"):
        if not isinstance(document.get(name), list):
            raise PoseFormatError(f"not a COCO keypoints file: it has no list of {name}")
    categories = document.get("categories") or []
    if not isinstance(categories, list):
        raise PoseFormatError("not a COCO keypoints file: its categories are no list")
    return document["images"], document["annotations"], categories


def _name(image: Any, index: int) -> str:
    name = image.get("file_name") if isinstance(image, dict) else None
    if isinstance(name, str) and name:
        return name.encode(errors="replace").decode()
    identity = _identity(image.get("id")) if isinstance(image, dict) else None
    return f"images[{index}]" if identity is None else identity


def _identity(value: object) -> str | None:
    """An id as text; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int) or (isinstance(value, str) and value) else None


def _number(value: object) -> float | None:
    """A finite number, also one that was written as a text; None when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _result(
    image: Any,
    index: int,
    annotated: dict[str, list[tuple[int, dict[str, Any]]]],
    skeletons: "_Skeletons",
    seen: set[str],
) -> Pose | PoseFormatError:
    try:
        if not isinstance(image, dict) or (identity := _identity(image.get("id"))) is None:
            raise PoseFormatError(f"images[{index}] has no id")
        if identity in seen:
            raise PoseFormatError(f"images[{index}]: an earlier image has the id {identity} too")
        seen.add(identity)
        width, height = (_side(image.get(name), f"images[{index}].{name}") for name in ("width", "height"))
        people = tuple(
            person
            for place, annotation in _once(annotated.get(identity, ()))
            if (person := _person(annotation, f"annotations[{place}]", skeletons, width, height))
        )
        return Pose(width=width, height=height, people=people)
    except PoseFormatError as error:
        return error


def _once(annotations: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The annotations without those that say again what one before them says, its id included."""
    met: set[str] = set()
    for place, annotation in annotations:
        said = repr((annotation.get("id"), annotation.get("category_id"), annotation.get("keypoints")))
        if annotation.get("id") is None or said not in met:
            yield place, annotation
        met.add(said)


def _side(value: object, place: str) -> int:
    side = _number(value)
    if side is None or side != int(side) or not 1 <= side <= LARGEST_SIDE:
        raise PoseFormatError(f"{place} is {value!r:.40}; it is a whole number of pixels, from 1 to {LARGEST_SIDE}")
    return int(side)


def _person(annotation: dict[str, Any], place: str, skeletons: "_Skeletons", width: int, height: int) -> Person | None:
    """None: a crowd, or nobody whose keypoints are labelled."""
    if _is_crowd(annotation.get("iscrowd"), place):
        return None
    numbers = _numbers(annotation.get("keypoints"), place)
    if not any(numbers[2::3]):
        return None
    names = skeletons.names(annotation, place)
    if len(numbers) != 3 * len(names):
        raise PoseFormatError(f"{place}.keypoints holds {len(numbers)} numbers; its {len(names)} keypoints have 3 each")
    found: Found = {}
    for name, x, y, visibility in zip(names, numbers[::3], numbers[1::3], numbers[2::3], strict=True):
        if name and visibility > 0:
            found[name] = (x, y, min(visibility, 1.0))
    found.setdefault("neck", between(found.get("left_shoulder"), found.get("right_shoulder")))
    points = (found.get(name) for name in BODY_KEYPOINTS)
    person = Person(body=tuple(point and (point[0] / width, point[1] / height, point[2]) for point in points))
    return person if person.is_seen else None


def _is_crowd(value: object, place: str) -> bool:
    """0 and 1, as numbers, truth values or texts; nothing is 0. Raises PoseFormatError for what says neither."""
    text = str(value).strip().lower()
    if value is None or text in ("", "0", "0.0", "false"):
        return False
    if text in ("1", "1.0", "true"):
        return True
    raise PoseFormatError(f"{place}.iscrowd is {value!r:.40}; it is 0 or 1")


def _numbers(keypoints: object, place: str) -> list[float]:
    if keypoints is None:
        return []  # not annotated
    if not isinstance(keypoints, list):
        raise PoseFormatError(f"{place}.keypoints is no list of numbers")
    flat = [value for entry in keypoints for value in (entry if isinstance(entry, list) else [entry])]
    numbers = [_number(value) for value in flat]
    if None in numbers:
        raise PoseFormatError(f"{place}.keypoints holds {flat[numbers.index(None)]!r:.40}, which is no number")
    return [number for number in numbers if number is not None]


class _Skeletons:
    """The names of each category's keypoints, where they are a person's."""

    def __init__(self, categories: list[Any]) -> None:
        self._are_given = bool(categories)
        self._categories: dict[str, dict[str, Any]] = {}
        self._twice: set[str] = set()  # ids of categories that differ
        for category in categories:
            identity = _identity(category.get("id")) if isinstance(category, dict) else None
            if identity is not None and self._categories.setdefault(identity, category) != category:
                self._twice.add(identity)
        self._names: dict[str, tuple[str | None, ...]] = {}

    def names(self, annotation: dict[str, Any], place: str) -> tuple[str | None, ...]:
        """The keypoints' names here, in the annotation's order; None for those that no pose has here."""
        if not self._are_given:
            return COCO_KEYPOINTS
        identity = _identity(annotation.get("category_id"))
        if identity is None and len(self._categories) == 1:
            (identity,) = self._categories
        if identity is None or identity not in self._categories:
            raise PoseFormatError(f"{place}: no category has the id {annotation.get('category_id')!r:.40}")
        if identity in self._twice:
            raise PoseFormatError(f"{place}: two categories have the id {identity}")
        if identity not in self._names:
            self._names[identity] = _names_of(self._categories[identity], place)
        return self._names[identity]


def _names_of(category: dict[str, Any], place: str) -> tuple[str | None, ...]:
    given, kind = category.get("keypoints"), str(category.get("name"))
    if not given and kind.strip().lower() == PERSON:
        return COCO_KEYPOINTS
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise PoseFormatError(f"{place}: its category {kind!r:.40} does not name its keypoints")
    names = tuple(body_name(name) for name in given)
    repeated = [name for name, count in Counter(names).items() if name and count > 1]
    if repeated:
        raise PoseFormatError(f"{place}: its category {kind!r:.40} names {repeated[0]} twice")
    missing = [name for name in NEEDED if name not in names]
    if missing or any(ANIMAL.intersection(_words(name)) for name in given):
        why = f"there is no {missing[0]}" if missing else "they are an animal's"
        raise PoseFormatError(f"{place}: the keypoints of its category {kind!r:.40} are no person's: {why}")
    return names


def body_name(name: str) -> str | None:
    """The name here of a keypoint that a category calls `Left Wrist`, `l_wrist`, `wristLeft` or the like."""
    words = _words(name)
    if len(words) == 1:
        (word,) = words
        if word in ("nose", "neck"):
            return word
        words = [word[:1], word[1:]] if word[:1] in SIDES and word[1:] in JOINTS else words
    if len(words) != 2:
        return None
    side, joint = words if words[0] in SIDES else reversed(words)
    return f"{SIDES[side]}_{joint}" if side in SIDES and joint in JOINTS else None


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
