"""Finds the sources that a recipe names, as a stream of rows: folder, glob, s3:// prefix, manifest or pose file."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from posemill.errors import PosemillError, RecipeError, RowError
from posemill.poses import poses_from_coco, to_openpose_json
from posemill.storage import Store
from producer.manifests import SUFFIXES, read_json, read_manifest
from producer.rows import Candidate, Row, checked_row, expanded

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MARKS = "*?["  # of a glob


def find_rows(
    sources: str,
    folder: Path,
    *,
    poses: bool,
    store: Store | None,
    allowed_hosts: Sequence[str] = (),
    named: Collection[str] | None = None,
) -> Iterator[Row]:
    """Rows in a fixed order. `poses`: sources are pose files (OpenPose or COCO JSON), not pictures.
    `named`: the columns of a manifest that the recipe's prompts name; None where nobody can say.

    Raises RecipeError when the sources as a whole cannot be found.
    """
    if sources.startswith("s3://"):
        yield from _from_s3(sources, store, poses=poses)
        return
    if "://" in sources:
        raise RecipeError(f"sources: {sources!r}: only local paths and s3:// are read; URLs go into a manifest")
    path = folder / expanded(sources)
    if any(mark in sources for mark in MARKS) and not path.exists():
        yield from _from_files(_glob(folder, expanded(sources)), folder, poses=poses)
    elif path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in _suffixes(poses))
        yield from _from_files(found, path, poses=poses)
    elif not path.exists():
        raise RecipeError(f"sources: {path} does not exist")
    elif path.suffix.lower() in SUFFIXES:
        beside = path.parent
        yield from (checked_row(row, beside, allowed_hosts) for row in read_manifest(path, named))
    else:
        yield from _from_files([path], path.parent, poses=poses)


def _suffixes(poses: bool) -> tuple[str, ...]:
    return (".json",) if poses else PICTURES


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
