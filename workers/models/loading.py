"""What an error means that is raised while a model or a detector is loaded: the run's fault, with few exceptions."""

from collections.abc import Iterator
from contextlib import contextmanager

from posemill.errors import HubAway, OutOfMemory, PosemillError, RunFault
from posemill.hub.troubles import is_download_trouble

LONGEST_WORDS = 500


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Whatever a library raises inside is the run's fault: no item is to blame for a model that cannot be loaded.

    Raises RunFault with the cause in words; OutOfMemory where memory is short; HubAway where a download broke
    off. posemill's own errors pass, but for a fault whose cause was a broken download.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # Rust libraries panic beside Exception
        if isinstance(error, HubAway):
            raise
        if is_download_trouble(error):
            raise HubAway(f"{what} cannot be downloaded now: {in_words(error)}") from error
        if isinstance(error, PosemillError):
            raise
        if _is_short_memory(error):
            raise OutOfMemory(f"{what} does not fit into memory: {in_words(error)}") from error
        raise RunFault(f"{what} cannot be loaded: {in_words(error)}") from error


def in_words(error: BaseException) -> str:
    """The error on one line; its kind where that says what the text does not."""
    words = " ".join(str(error).split())
    is_plain = isinstance(error, (OSError, ValueError, RuntimeError, PosemillError)) and len(words.split()) > 1
    return (words if is_plain else f"{type(error).__name__}: {words}")[:LONGEST_WORDS]


def _is_short_memory(error: BaseException) -> bool:
    """PyTorch's own error is known by its name: not every detector brings PyTorch along."""
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    return isinstance(error, MemoryError) or "torch.OutOfMemoryError" in names
