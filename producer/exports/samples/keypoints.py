"""A sample's pose in its image's own pixels, as OpenPose JSON and as COCO annotations."""

from typing import Any

import msgspec

from posemill.pictures.poses import Keypoints, Person, Pose, from_openpose_json, to_coco_keypoints, to_openpose_json
from posemill.pictures.shapes import Size, canvas_for


class PlacedPose(msgspec.Struct, frozen=True, kw_only=True):
    """A pose in an image's pixels, written out once for all images that share it."""

    pose: Pose
    openpose: str
    coco: str


def placed(content: bytes, control: Size, size: Size) -> PlacedPose:
    """The pose stored beside a control image of that size, moved to where the fitted control image shows it."""
    pose = _moved(content, control, size)
    return PlacedPose(pose=pose, openpose=openpose_text(pose), coco=coco_text(pose))


def placed_as_found(found: dict[str, Any]) -> PlacedPose:
    """The pose that a judge has found in the image itself."""
    pose = from_openpose_json(found)
    return PlacedPose(pose=pose, openpose=openpose_text(pose), coco=coco_text(pose))


def _moved(content: bytes, control: Size, size: Size) -> Pose:
    pose = from_openpose_json(msgspec.json.decode(content))
    (width, height), (left, top) = canvas_for(control, size)

    def moved(keypoints: Keypoints | None) -> Keypoints | None:
        return keypoints and tuple(
            point and ((point[0] * control[0] + left) / width, (point[1] * control[1] + top) / height, point[2])
            for point in keypoints
        )

    people = tuple(
        Person(
            body=moved(person.body) or (),
            hand_left=moved(person.hand_left),
            hand_right=moved(person.hand_right),
            face=moved(person.face),
        )
        for person in pose.people
    )
    return Pose(width=size[0], height=size[1], people=people)


def openpose_text(pose: Pose) -> str:
    """Keypoints as OpenPose's JSON."""
    return msgspec.json.encode(to_openpose_json(pose)).decode()


def coco_text(pose: Pose) -> str:
    """COCO's annotations of the people: a list of `keypoints`, `num_keypoints`, `bbox` and `area`, in pixels."""
    annotations = []
    for person in pose.people:
        keypoints = to_coco_keypoints(person, pose.width, pose.height)
        box = _box(keypoints)
        annotations.append(
            {
                "category_id": 1,
                "iscrowd": 0,
                "keypoints": keypoints,
                "num_keypoints": sum(1 for visibility in keypoints[2::3] if visibility),
                "bbox": box,
                "area": round(box[2] * box[3], 2),
            }
        )
    return msgspec.json.encode(annotations).decode()


def _box(keypoints: list[float]) -> list[float]:
    """Left, top, width and height of the keypoints that were found."""
    seen = [index for index in range(0, len(keypoints), 3) if keypoints[index + 2]]
    if not seen:
        return [0.0, 0.0, 0.0, 0.0]
    xs, ys = [keypoints[index] for index in seen], [keypoints[index + 1] for index in seen]
    return [round(value, 2) for value in (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))]
