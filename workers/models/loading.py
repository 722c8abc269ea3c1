"""What an error means that is raised while a model or a detector is loaded: the run's fault, with few exceptions."""

from collections.abc import Iterator
from contextlib import contextmanager

from posemill.errors import OutOfMemory, PosemillError, RunFault, TransientError

LONGEST_WORDS = 500
NETWORK_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
BROKEN_CONNECTIONS = ("TransportError", "ConnectionError", "Timeout", "ChunkedEncodingError", "ProtocolError")
BUSY = (408, 425, 429)  # HTTP's words for "later", beside 500 and more


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Whatever a library raises inside is the run's fault: no item is to blame for a model that cannot be loaded.

    Raises RunFault with the cause in words; OutOfMemory where memory is short; TransientError where a download broke
    off. posemill's own errors pass, but for a fault whose cause was a broken download.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # Rust libraries panic beside Exception
        if _is_download(error):
            raise TransientError(f"{what} cannot be downloaded now: {in_words(error)}") from error
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


def _is_download(error: BaseException) -> bool:
    """Whether a connection that failed, or a server that is busy, stands at the beginning of an error."""
    return any(_is_broken_connection(cause) or _is_busy(cause) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_broken_connection(error: BaseException) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    return any(
        kind.__module__.partition(".")[0] in NETWORK_LIBRARIES and kind.__name__ in BROKEN_CONNECTIONS
        for kind in type(error).__mro__
    )


def _is_busy(error: BaseException) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(status, int) and (status >= 500 or status in BUSY)
