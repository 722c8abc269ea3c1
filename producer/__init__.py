"""Recipes in, runs and data sets out: the side that users talk to. Works without torch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.runs.handle import RunHandle, Status, open_handle
    from producer.submitting.submission import submit

__all__ = ["RunHandle", "Status", "open_handle", "submit"]


def __getattr__(name: str) -> Any:
    """Import late: the command line must start without boto3 and Celery."""
    if name == "submit":
        from producer.submitting.submission import submit

        return submit
    if name in ("RunHandle", "Status", "open_handle"):
        import producer.runs.handle

        return getattr(producer.runs.handle, name)
    raise AttributeError(f"module 'producer' has no attribute {name!r}")
