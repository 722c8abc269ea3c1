"""Which local folders a worker may load models from."""

from collections.abc import Iterable
from pathlib import Path

from posemill.errors import RunFault
from posemill.models import EMBEDDED, local_path


def require_allowed_folders(models: Iterable[str], allowed: str) -> None:
    """Raises RunFault when a local model lies outside the allowed folders; hub ids and shipped models never do."""
    folders = [Path(folder).resolve() for folder in allowed.split(":") if folder]
    for model in models:
        path = Path(local_path(model))
        is_local = path.exists() or path.is_absolute()
        if not folders or model.startswith(EMBEDDED) or not is_local:
            continue
        if not any(path.resolve().is_relative_to(folder) for folder in folders):
            raise RunFault(
                f"{model!r} lies outside the folders that this worker may load from; see POSEMILL_MODEL_FOLDERS"
            )
