"""A map of poses: clusters of like ones, and a plane on which like ones lie near each other."""

from collections.abc import Sequence
from typing import Any

import msgspec

from producer.exports.counts.poses_seen import SeenPose

FEWEST_POSES = 20  # fewer are no map
MOST_CLUSTERS = 12
MISSING = 0.0  # a keypoint that was not found counts as the person's middle


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Like poses."""

    pose: SeenPose  # the one in its middle
    poses: int
    images: int


class PoseMap(msgspec.Struct, frozen=True, kw_only=True):
    """Where each pose lies, and its cluster's number; clusters with most images first."""

    poses: list[SeenPose]
    places: list[tuple[float, float]]
    members: list[int]
    images: list[int]
    clusters: list[Cluster]


def map_poses(poses: Sequence[SeenPose]) -> PoseMap:
    """Clusters by k-means, the plane by the two main directions in which the poses differ. Always the same map."""
    from scipy.cluster.vq import kmeans2

    if not poses:
        return PoseMap(poses=[], places=[], members=[], images=[], clusters=[])
    vectors = [[MISSING if value is None else value for value in pose.points] for pose in poses]
    different = len({tuple(vector) for vector in vectors})
    wanted = min(MOST_CLUSTERS, different, max(1, len(vectors) // 2))
    centres, labels = kmeans2(vectors, wanted, minit="++", rng=0, iter=20) if wanted > 1 else ([], [0] * len(vectors))
    return _ordered(poses, _plane(vectors), [int(label) for label in labels], vectors, centres)


def _plane(vectors: list[list[float]]) -> list[tuple[float, float]]:
    from scipy.linalg import svd

    means = [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]
    centred = [[value - mean for value, mean in zip(vector, means, strict=True)] for vector in vectors]
    if len(vectors) < 2:
        return [(0.0, 0.0)]
    along, strengths, _ = svd(centred, full_matrices=False)
    # Rounded, because the last bits depend on how the numbers lie in memory, and a plot's ids on all bits.
    return [(round(float(row[0] * strengths[0]), 4), round(float(row[1] * strengths[1]), 4)) for row in along]


def _ordered(
    poses: Sequence[SeenPose],
    places: list[tuple[float, float]],
    labels: list[int],
    vectors: list[list[float]],
    centres: Any,
) -> PoseMap:
    """Clusters that have members, renumbered by their images."""
    members: dict[int, list[int]] = {}
    for number, label in enumerate(labels):
        members.setdefault(label, []).append(number)
    order = sorted(members, key=lambda label: (-sum(poses[number].images for number in members[label]), label))
    clusters = [
        Cluster(
            pose=poses[_middle(members[label], vectors, centres[label] if len(centres) else vectors[0])],
            poses=len(members[label]),
            images=sum(poses[number].images for number in members[label]),
        )
        for label in order
    ]
    rank = {label: place for place, label in enumerate(order)}
    return PoseMap(
        poses=list(poses),
        places=places,
        members=[rank[label] for label in labels],
        images=[pose.images for pose in poses],
        clusters=clusters,
    )


def _middle(numbers: list[int], vectors: list[list[float]], centre: Sequence[float]) -> int:
    """The member nearest to the centre."""

    def distance(number: int) -> float:
        return sum((value - middle) ** 2 for value, middle in zip(vectors[number], centre, strict=True))

    return min(numbers, key=distance)
