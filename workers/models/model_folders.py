"""Where local models and weights lie, and which of them a worker may load: the one place that judges a path."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from posemill.catalogue.models import EMBEDDED, local_path
from posemill.contract.specs import DetectSpec, GenerateSpec, LoraSpec
from posemill.errors import RecipeError, RunFault

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class ModelFolders:
    """The folders of POSEMILL_MODEL_FOLDERS; without any, local models may lie anywhere."""

    folders: tuple[Path, ...]

    @staticmethod
    def of(setting: str) -> "ModelFolders":
        """The folders that a setting of paths, parted by `:`, allows."""
        return ModelFolders(tuple(Path(folder).resolve() for folder in setting.split(":") if folder))

    def place(self, model: str) -> str:
        """What libraries load for a hub id, a folder, a file or embedded:NAME.

        Raises RunFault for what lies outside the allowed folders, itself or by a link in it.
        """
        try:
            place = local_path(model)
        except RecipeError as error:
            raise RunFault(str(error)) from error
        if model.startswith(EMBEDDED):
            return place  # judged there: shipped models lie where posemill is installed
        if "\0" in place:
            raise RunFault(f"{model!r} is no path")
        if not os.path.lexists(place) and HUB_ID.fullmatch(place) and ".." not in place:
            return place
        self._require_allowed(model, Path(place))
        return place

    def require_file(self, lora: LoraSpec) -> None:
        """Raises RunFault for an adapter's file that is named by a way out of its folder or repository."""
        if lora.file is None:
            return
        path = PurePosixPath(lora.file)
        if path.is_absolute() or ".." in path.parts or "\\" in lora.file or "\0" in lora.file:
            raise RunFault(f"file: {lora.file!r} leads out of {lora.lora}; name a file in it")

    def of_generate(self, spec: GenerateSpec) -> GenerateSpec:
        """The spec with every model's place instead of its name. Raises RunFault as `place` does."""
        for lora in spec.loras:
            self.require_file(lora)
        nets = tuple(msgspec.structs.replace(net, controlnet=self.place(net.controlnet)) for net in spec.controlnets)
        return msgspec.structs.replace(
            spec,
            base=self.place(spec.base),
            controlnets=nets,
            vae=self.place(spec.vae) if spec.vae else None,
            base_config=self.place(spec.base_config) if spec.base_config else None,
            loras=tuple(msgspec.structs.replace(lora, lora=self.place(lora.lora)) for lora in spec.loras),
        )

    def of_detect(self, spec: DetectSpec) -> DetectSpec:
        """The spec with the place of its weights. Raises RunFault as `place` does."""
        return msgspec.structs.replace(spec, weights=self.place(spec.weights)) if spec.weights else spec

    def _require_allowed(self, model: str, path: Path) -> None:
        if self.folders and not all(self._holds(each) for each in _places(path)):
            raise RunFault(
                f"{model!r} lies outside the folders that this worker may load from; see POSEMILL_MODEL_FOLDERS"
            )

    def _holds(self, place: Path | None) -> bool:
        return place is not None and any(place.is_relative_to(folder) for folder in self.folders)


def _places(path: Path) -> Iterator[Path | None]:
    """Where a model lies, and where each link in it leads; None for one that leads nowhere."""
    seen: set[Path | None] = set()
    ahead = [path]
    while ahead:
        place = _resolved(ahead.pop())
        if place in seen:
            continue
        seen.add(place)
        yield place  # judged before it is entered
        if place is not None:
            ahead += _links(place)


def _links(folder: Path) -> Iterator[Path]:
    for inner, folders, files in os.walk(folder):
        yield from (path for name in (*folders, *files) if (path := Path(inner) / name).is_symlink())


def _resolved(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return None
