"""Reads keypoints and limbs from an OpenPose network's maps without drawing the maps at full size.

controlnet_aux enlarges 57 maps to the picture's size (twice, by Lanczos), blurs 18 of them in float64 and reads a few
thousand values. Enlarging and blurring are linear and separable, so one matrix for each axis does both, and a value is
read where it is needed: the same numbers, up to rounding.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

STRIDE = 8  # pixels of the network's picture for each place of its maps
KEYPOINTS = 18
BLUR_SIGMA = 3  # pixels
PEAK_AT_LEAST = 0.1

GLANCE = 4  # pixels between the places that are looked at first; over that the blur keeps half of a peak

Matrix = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """How one axis of the maps becomes the picture's: matrices of shape (pixels, places)."""

    enlarge: Matrix
    blurred: Matrix


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Candidates for the keypoints of one kind, in the library's order (by row, then column)."""

    x: NDArray[np.int64]  # pixels
    y: NDArray[np.int64]
    score: NDArray[np.float64]


class Maps:
    """One picture's maps: heatmaps (19, height, width) and part affinity fields (38, height, width)."""

    def __init__(self, heatmaps: Matrix, fields: Matrix, *, seen: tuple[int, int], picture: tuple[int, int]) -> None:
        """`seen`: height and width that the network saw, without padding; `picture`: of the picture, in pixels."""
        self._heatmaps = heatmaps
        self._fields = fields
        area = sum(picture) < sum(seen)  # the library's rule for choosing an interpolation
        self._rows = axis(heatmaps.shape[1], seen[0], picture[0], area)
        self._columns = axis(heatmaps.shape[2], seen[1], picture[1], area)

    def peaks(self) -> list[Peaks]:
        """Return the local maxima of each blurred heatmap; scores are read from the unblurred one."""
        heatmaps = self._heatmaps[:KEYPOINTS]
        glance = self._rows.blurred[::GLANCE] @ heatmaps @ self._columns.blurred[::GLANCE].T
        rows = [around(each, len(self._rows.blurred)) for each in glance.max(axis=2)]
        columns = [around(each, len(self._columns.blurred)) for each in glance.max(axis=1)]
        return [self._peaks_of(part, rows[part], columns[part]) for part in range(KEYPOINTS)]

    def _peaks_of(self, part: int, rows: Indices, columns: Indices) -> Peaks:
        """Return the local maxima of one heatmap, all of which lie in these rows and columns."""
        values = self._rows.blurred[rows] @ self._heatmaps[part] @ self._columns.blurred[columns].T
        y, x = np.divmod(np.flatnonzero(values > PEAK_AT_LEAST), max(1, len(columns)))
        here, padded = values[y, x], np.pad(values, 1)
        highest = np.ones(len(y), bool)
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            highest &= here >= padded[y + 1 + down, x + 1 + right]
        y, x = rows[y[highest]], columns[x[highest]]
        return Peaks(x=x, y=y, score=self._at(self._heatmaps[part : part + 1], x, y)[0])

    def field_at(self, limb: tuple[int, int], x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the two maps of a limb's direction at points, shape (2, points)."""
        return self._at(self._fields[list(limb)], x, y)

    def _at(self, maps: Matrix, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float64]:
        rows, columns = self._rows.enlarge[y], self._columns.enlarge[x]
        return np.asarray(((rows @ maps) * columns).sum(axis=-1), np.float64)


def around(glances: Matrix, pixels: int) -> Indices:
    """Return the pixels of one axis less than two glances from one that may have seen a peak's side."""
    near = np.convolve(glances > PEAK_AT_LEAST / 2, (1, 1, 1), mode="same") > 0
    return np.flatnonzero(np.repeat(near, GLANCE)[:pixels])


@lru_cache(maxsize=64)
def axis(places: int, seen: int, pixels: int, area: bool) -> Axis:
    """Return the matrices of one axis: enlarge by the stride, cut the padding off, resize to the picture, blur.

    They are the library's own resizing and blurring, applied to a map that is 1 at one place.
    """
    large = _resized(np.eye(places, dtype=np.float32), places * STRIDE, cv2.INTER_LANCZOS4)[:seen]
    enlarge = _resized(large, pixels, cv2.INTER_AREA if area else cv2.INTER_LANCZOS4)
    return Axis(enlarge=enlarge, blurred=_blurred(enlarge))


def _blurred(columns: Matrix) -> Matrix:
    """Return the columns blurred; beyond their ends they go on mirrored, as SciPy's do."""
    radius = 4 * BLUR_SIGMA
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / BLUR_SIGMA) ** 2)
    longer = np.pad(columns.astype(np.float64), ((radius, radius), (0, 0)), mode="symmetric")
    blurred = [np.convolve(column, kernel / kernel.sum(), mode="valid") for column in longer.T]
    return np.stack(blurred, axis=1).astype(np.float32)


def _resized(columns: Matrix, pixels: int, interpolation: int) -> Matrix:
    """Return the columns at another length."""
    return np.asarray(cv2.resize(columns, (columns.shape[1], pixels), interpolation=interpolation), np.float32)
