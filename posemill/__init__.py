"""posemill from Python: all that `from posemill import …` offers, each loaded when it is first asked for.

This file and `__main__.py` are the only ones of the package that name `producer`; no other file imports from them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posemill.errors import (
        BadInput,
        ChangedObject,
        HubAway,
        LeaseLost,
        NotFound,
        NothingToDo,
        NotOver,
        OutOfMemory,
        PermanentError,
        PosemillError,
        RecipeError,
        RowError,
        RunConflict,
        RunFault,
        RunPaused,
        ServiceError,
        TransientError,
        UnreadableRecord,
    )
    from posemill.settings import Settings
    from producer.api import (
        Exported,
        Preview,
        Proof,
        RunHandle,
        Status,
        check,
        export,
        local_settings,
        open_run,
        preview,
        submit,
        verify,
    )

__version__ = "0.1.0"

__all__ = [
    "BadInput",
    "ChangedObject",
    "Exported",
    "HubAway",
    "LeaseLost",
    "NotFound",
    "NotOver",
    "NothingToDo",
    "OutOfMemory",
    "PermanentError",
    "PosemillError",
    "Preview",
    "Proof",
    "RecipeError",
    "RowError",
    "RunConflict",
    "RunFault",
    "RunHandle",
    "RunPaused",
    "ServiceError",
    "Settings",
    "Status",
    "TransientError",
    "UnreadableRecord",
    "check",
    "export",
    "local_settings",
    "open_run",
    "preview",
    "submit",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import late (PEP 562): the command line and the workers must start without what they do not use."""
    if name not in __all__:
        raise AttributeError(f"module 'posemill' has no attribute {name!r}")
    from posemill import errors

    if hasattr(errors, name):
        return getattr(errors, name)
    if name == "Settings":
        from posemill.settings import Settings

        return Settings
    from producer import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """What there is, though it is not loaded yet."""
    return sorted({*globals(), *__all__})
