"""Finds the sources that a recipe names, as a stream of rows: folder, glob, s3:// prefix, manifest or pose file."""

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import msgspec

from posemill.errors import BadInput, RecipeError, RowError
from posemill.pictures.coco import poses_from_coco
from posemill.pictures.decoding import SUFFIXES as PICTURES
from posemill.pictures.poses import Pose, PoseFormatError, checked_openpose_json, json_in, to_openpose_json
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.sources.manifests import SUFFIXES, read_manifest
from producer.sources.rows import Candidate, Row, checked_row, expanded
from producer.sources.scanning import OTHER_NAME, FileFilter, PatternFilter, SkippedTally, walk, why_passed_over
from producer.sources.source_files import read_pose_file

MARKS = "*?["  # of a glob
POSES = frozenset((".json",))


def find_rows(
    sources: str,
    folder: Path,
    settings: Settings,
    *,
    poses: bool,
    store: Store | None,
    skipped: SkippedTally,
    named: Collection[str] | None = None,
) -> Iterator[Row]:
    """Rows in a fixed order. `poses`: sources are pose files (OpenPose or COCO JSON), not pictures.
    `named`: the columns of a manifest that the recipe's prompts name; None where nobody can say.

    What is passed over goes to the tally. Raises RecipeError when the sources as a whole cannot be found.
    """
    wanted = POSES if poses else PICTURES
    if sources.startswith("s3://"):
        yield from _from_s3(sources, store, wanted, skipped)
        return
    if "://" in sources:
        raise RecipeError(f"sources: {sources!r}: only local paths and s3:// are read; URLs go into a manifest")
    path = folder / expanded(sources)
    if any(mark in sources for mark in MARKS) and not path.exists():
        yield from _from_files(_glob(folder, expanded(sources), skipped), folder, poses=poses)
    elif path.is_dir():
        yield from _from_files(walk(path, FileFilter(wanted), skipped), path, poses=poses)
    elif not path.exists():
        raise RecipeError(f"sources: {path} does not exist")
    elif path.suffix.lower() in SUFFIXES:
        folders = (path.parent, *(expanded(name) for name in settings.source_folders.split(os.pathsep) if name))
        for row in read_manifest(path, named):
            yield _ready(checked_row(row, path.parent, settings.hosts), folders, poses=poses)
    else:
        yield from _from_files([path], path.parent, poses=poses)


def _glob(folder: Path, pattern: Path, skipped: SkippedTally) -> Iterator[Path]:
    """Files that match below `folder`, whose own name may hold marks."""
    first = next(index for index, part in enumerate(pattern.parts) if any(mark in part for mark in MARKS))
    base, rest = folder.joinpath(*pattern.parts[:first]), pattern.parts[first:]
    if ".." in rest:
        raise RecipeError(f"sources: {str(pattern)!r}: '..' may only stand before the first of {MARKS}")
    if base.is_dir():
        yield from walk(base, PatternFilter(rest), skipped)


def _from_files(files: Iterable[Path], root: Path, *, poses: bool) -> Iterator[Row]:
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
        content = json_in(read_pose_file(file))
        if isinstance(content, dict) and "annotations" in content:
            for image, pose in poses_from_coco(content):
                yield _coco_row(f"{name}:{image}", image, pose)
            return
        yield Row(place=name, source=Candidate(name=name, pose=checked_openpose_json(content)))
    except BadInput as error:
        yield Row(place=name, error=RowError(str(error), place=name))


def _coco_row(place: str, image: str, pose: Pose | PoseFormatError) -> Row:
    try:
        if isinstance(pose, PoseFormatError):
            raise pose
        return Row(place=place, source=Candidate(name=image, pose=checked_openpose_json(to_openpose_json(pose))))
    except PoseFormatError as error:
        return Row(place=place, error=RowError(str(error), place=place))


def _ready(row: Row, folders: tuple[Path, ...], *, poses: bool) -> Row:
    """A manifest's row with its pose read and checked, or its file held to the folders. `poses`: a source is a pose."""
    candidate = row.source or row.control_image
    if candidate is None or row.error:
        return row
    if candidate.uri and candidate.is_pose and not poses:
        message = "a pose by address is read with `detector: keypoints` alone; copy the file to this machine"
        return Row(place=row.place, error=RowError(message, place=f"{row.place}, column pose"))
    if candidate.path and not candidate.is_pose and not (poses and row.source):
        held = msgspec.structs.replace(candidate, folders=folders)
        return msgspec.structs.replace(row, **{"control_image" if row.control_image else "source": held})
    if candidate.uri:
        return row
    try:
        content = read_pose_file(candidate.path, folders) if candidate.path else candidate.pose
        pose = checked_openpose_json(content)
    except BadInput as error:
        where = candidate.path if candidate.path else "the pose"
        message = f"{where}: {error}" if isinstance(error, PoseFormatError) else str(error)
        column = "source" if candidate.path and not candidate.is_pose else "pose"
        return Row(place=row.place, error=RowError(message, place=f"{row.place}, column {column}"))
    return msgspec.structs.replace(row, source=Candidate(name=candidate.name, pose=pose))


def _from_s3(uri: str, store: Store | None, suffixes: frozenset[str], skipped: SkippedTally) -> Iterator[Row]:
    if store is None:
        raise RecipeError(f"sources: {uri} can only be listed with storage at hand; set POSEMILL_STORE")
    if uri.lower().endswith(SUFFIXES):
        raise RecipeError(f"sources: {uri}: copy the manifest to this machine; its rows may name s3:// pictures")
    start = uri.rfind("/") + 1
    for info in store.list_uri(uri):
        names = info.key[start:].split("/")
        if not names[-1]:
            continue  # stands for a folder
        reason = next((why for name in names if (why := why_passed_over(name))), "")
        if not reason and os.path.splitext(names[-1])[1].lower() not in suffixes:
            reason = OTHER_NAME
        if reason:
            skipped.add(reason, info.key[start:])
        else:
            yield Row(place=info.key, source=Candidate(name=info.key, uri=info.key, etag=info.etag))
