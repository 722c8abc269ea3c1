"""Finds the sources that a recipe names, as a stream of rows: folder, glob, s3:// prefix, manifest or pose file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from posemill.errors import PosemillError, RecipeError, RowError
from posemill.poses import poses_from_coco, to_openpose_json
from posemill.storage import Store
from producer.manifests import SUFFIXES, ManifestRow, read_json, read_manifest

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MARKS = "*?["  # of a glob
SOURCE_COLUMNS = ("source", "control_image", "pose")
ROW_COLUMNS = (*SOURCE_COLUMNS, "prompt", "negative_prompt", "seed")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A source before it is read. Exactly one of path, uri and pose is set."""

    name: str
    path: Path | None = None
    uri: str | None = None
    etag: str = ""
    pose: dict[str, Any] | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of work: a source or a ready-made control image, and what the row itself says about it."""

    place: str
    source: Candidate | None = None
    control: Candidate | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    columns: dict[str, Any] = {}
    error: RowError | None = None


def find_rows(sources: str, folder: Path, *, poses: bool, store: Store | None) -> Iterator[Row]:
    """Rows in a fixed order. `poses`: sources are pose files (OpenPose or COCO JSON), not pictures.

    Raises RecipeError when the sources as a whole cannot be found.
    """
    if sources.startswith("s3://"):
        yield from _from_s3(sources, store, poses=poses)
        return
    if "://" in sources:
        raise RecipeError(f"sources: {sources!r}: only local paths and s3:// addresses are read")
    path = folder / _expanded(sources)
    if any(mark in sources for mark in MARKS) and not path.exists():
        yield from _from_files(_glob(folder, _expanded(sources)), folder, poses=poses)
    elif path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in _suffixes(poses))
        yield from _from_files(found, path, poses=poses)
    elif not path.exists():
        raise RecipeError(f"sources: {path} does not exist")
    elif path.suffix.lower() in SUFFIXES:
        yield from (_from_manifest(row, path.parent) for row in read_manifest(path))
    else:
        yield from _from_files([path], path.parent, poses=poses)


def _suffixes(poses: bool) -> tuple[str, ...]:
    return (".json",) if poses else PICTURES


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user: the name just begins with a tilde
        return Path(path)


def _glob(folder: Path, pattern: Path) -> list[Path]:
    """Files that match below `folder`, whose own name may hold marks."""
    first = next(index for index, part in enumerate(pattern.parts) if any(mark in part for mark in MARKS))
    base = folder.joinpath(*pattern.parts[:first])
    try:
        return sorted(file for file in base.glob(str(Path(*pattern.parts[first:]))) if file.is_file())
    except ValueError as error:
        raise RecipeError(f"sources: {str(pattern)!r}: {error}") from error


def _from_files(files: list[Path], root: Path, *, poses: bool) -> Iterator[Row]:
    for file in files:
        shown = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
        name = bytes(shown).decode(errors="replace")
        if poses:
            yield from _from_pose_file(file, name)
        else:
            yield Row(place=name, source=Candidate(name=name, path=file))


def _from_pose_file(file: Path, name: str) -> Iterator[Row]:
    """One row for an OpenPose file, one for each image of a COCO file."""
    try:
        content = read_json(file)
        if not isinstance(content, dict) or "annotations" not in content:
            yield Row(place=name, source=Candidate(name=name, pose=content))
            return
        for image, pose in poses_from_coco(content):
            yield Row(place=f"{name}:{image}", source=Candidate(name=str(image), pose=to_openpose_json(pose)))
    except PosemillError as error:
        yield Row(place=name, error=RowError(str(error), place=name))


def _from_s3(uri: str, store: Store | None, *, poses: bool) -> Iterator[Row]:
    if store is None:
        raise RecipeError(f"sources: {uri} can only be listed with storage at hand; set POSEMILL_STORE")
    if uri.lower().endswith(SUFFIXES):
        raise RecipeError(f"sources: {uri}: copy the manifest to this machine; its rows may name s3:// pictures")
    for info in store.list_uri(uri):
        if info.key.lower().endswith(_suffixes(poses)):
            yield Row(place=info.key, source=Candidate(name=info.key, uri=info.key, etag=info.etag))


def _from_manifest(row: ManifestRow, folder: Path) -> Row:
    if row.error:
        return Row(place=row.place, error=row.error)
    try:
        return _checked(row, folder)
    except RowError as error:
        return Row(place=row.place, error=error)


def _checked(row: ManifestRow, folder: Path) -> Row:
    values, place = row.values, row.place
    given = [column for column in SOURCE_COLUMNS if values.get(column) not in (None, "")]
    if len(given) != 1:
        raise RowError(f"give exactly one of the columns {', '.join(SOURCE_COLUMNS)}", place=place)
    column = given[0]
    candidate = _candidate(values[column], folder, place, column)
    return Row(
        place=place,
        source=None if column == "control_image" else candidate,
        control=candidate if column == "control_image" else None,
        prompt=_text(values, "prompt", place),
        negative_prompt=_text(values, "negative_prompt", place),
        seed=_seed(values, place),
        columns={name: value for name, value in values.items() if name not in ROW_COLUMNS},
    )


def _candidate(value: Any, folder: Path, place: str, column: str) -> Candidate:
    if column == "pose" and isinstance(value, dict):
        return Candidate(name=place, pose=value)
    if not isinstance(value, str) or "\0" in value:
        raise RowError("an address is text without NUL", place=f"{place}, column {column}")
    if value.startswith("s3://"):
        return Candidate(name=value, uri=value)
    if "://" in value:
        raise RowError(f"{value!r}: only local paths and s3:// are read", place=f"{place}, column {column}")
    path = folder / _expanded(value)
    if column == "pose":
        return Candidate(name=value, pose=_pose_in(path, f"{place}, column {column}"))
    return Candidate(name=value, path=path)


def _pose_in(path: Path, place: str) -> Any:
    try:
        return read_json(path)
    except RecipeError as error:
        raise RowError(str(error), place=place) from error


def _text(values: dict[str, Any], column: str, place: str) -> str | None:
    value = values.get(column)
    if value is not None and not isinstance(value, str):
        raise RowError(f"{value!r} is not text", place=f"{place}, column {column}")
    return value


def _seed(values: dict[str, Any], place: str) -> int | None:
    value = values.get("seed")
    if value is None:
        return None
    try:
        seed = int(value) if isinstance(value, str) else value
    except ValueError:
        seed = None
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise RowError(f"{value!r} is not a whole number from 0 to 2**63 - 1", place=f"{place}, column seed")
    return seed
