"""Control images in storage: the picture, and beside it a note of its size, its keypoints or why it cannot be used."""

import msgspec

from posemill.contract.keys import control_key, pose_key
from posemill.contract.records import StoredObject
from posemill.errors import NotFound
from posemill.pictures.poses import Pose, from_openpose_json, to_openpose_json
from posemill.storage.store import Store
from workers.detecting.detectors import Detection
from workers.images.pngs import encode_png


class StoredControl(msgspec.Struct, frozen=True, kw_only=True):
    """A control image as it is stored."""

    size: tuple[int, int]  # width and height of the control image
    detector: str  # that made it, with the library's version
    reason: str = ""  # why it cannot be used
    pose: Pose | None = None  # of detectors that find people
    note: StoredObject
    drawn: StoredObject | None  # None: nobody to draw, or a reason


class ControlStore:
    """Keeps control images under the digests of their sources' bytes and their specifications."""

    def __init__(self, store: Store, *, png_compress_level: int) -> None:
        self._store = store
        self._png_compress_level = png_compress_level

    def known(self, control_digest: str) -> StoredControl | None:
        """What an earlier batch, of this or another run, made of the same bytes."""
        try:
            document = msgspec.json.decode(self._store.get(pose_key(control_digest)))
        except NotFound:
            return None
        note, drawn = self._store.head(pose_key(control_digest)), self._store.head(control_key(control_digest))
        pose = from_openpose_json(document) if "people" in document else None
        reason = document.get("reason", "")
        if note is None or (drawn is None and not _is_empty(pose, reason)):
            return None
        size = (document.get("control_width", 0), document.get("control_height", 0))
        detector = document.get("detector", "")
        return StoredControl(pose=pose, reason=reason, size=size, detector=detector, note=note, drawn=drawn)

    def write(self, control_digest: str, detection: Detection, detector: str) -> StoredControl:
        """Store the control image, then its note. Nothing to draw: the note alone, no black image."""
        pose, reason, size, drawn = detection.pose, detection.reason, detection.control_image.size, None
        if not _is_empty(pose, reason):
            content = encode_png(detection.control_image, compress_level=self._png_compress_level)
            drawn, _ = self._store.put_if_absent(control_key(control_digest), content, content_type="image/png")
        made = {"control_width": size[0], "control_height": size[1], "detector": detector}
        document = (to_openpose_json(pose) if pose else {}) | made | ({"reason": reason} if reason else {})
        note, _ = self._store.put_if_absent(
            pose_key(control_digest), msgspec.json.encode(document), content_type="application/json"
        )
        return StoredControl(pose=pose, reason=reason, size=size, detector=detector, note=note, drawn=drawn)


def _is_empty(pose: Pose | None, reason: str) -> bool:
    return bool(reason) or (pose is not None and not pose.people)
