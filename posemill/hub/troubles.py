"""What an error of the Hub's client means: the Hub is away, or it says no, and then to whom and why."""

from collections.abc import Iterator
from contextlib import contextmanager

from posemill.errors import HubAway, RunFault

NETWORK_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
BROKEN_CONNECTIONS = ("TransportError", "ConnectionError", "Timeout", "ChunkedEncodingError", "ProtocolError")
BUSY = (408, 425, 429)  # HTTP's words for "later", beside 500 and more
BAD_TOKEN = "Invalid credentials in Authorization header"  # the Hub's own words

NO_ENTRY = {  # by the Hub's code: without a token, and with one
    "GatedRepo": (
        "{model} is gated: accept its terms on its page, and set HF_TOKEN to a token of that account",
        "{model} is gated, and the account of HF_TOKEN has no access: accept its terms on its page with that account",
    ),
    "RepoNotFound": (
        "{model} is not on the Hub, or is private: check its name; if it is private, set HF_TOKEN",
        "{model} is not on the Hub, or HF_TOKEN may not read it: check its name and the token's rights",
    ),
    "Forbidden": (
        "the Hub forbids reading {model}; set HF_TOKEN to a token that may",
        "the Hub forbids reading {model}: HF_TOKEN lacks the right",
    ),
}


@contextmanager
def asking(model: str, revision: str | None = None) -> Iterator[None]:
    """Raises HubAway for a connection that failed or a busy server, and RunFault, with what to do, for a refusal."""
    try:
        yield
    except (HubAway, RunFault):
        raise
    except Exception as error:
        if is_download_trouble(error):
            words = " ".join(str(error).split())[:200]
            raise HubAway(f"the Hub cannot be reached for {model}: {type(error).__name__}: {words}") from error
        if refusal := _refusal(error, model, revision):
            raise RunFault(refusal) from error
        raise


def is_download_trouble(error: BaseException) -> bool:
    """Whether a connection that failed, or a server that is busy, stands at the beginning of an error."""
    return any(isinstance(cause, HubAway) or _is_broken(cause) or _is_busy(cause) for cause in _causes(error))


def _refusal(error: BaseException, model: str, revision: str | None) -> str | None:
    """What the Hub's answer means for a user; None for an error that is no answer of it."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if not isinstance(status, int):
        return None
    from huggingface_hub import get_token

    headers, token = getattr(error.response, "headers", {}), get_token()  # type: ignore[attr-defined]
    code, message = headers.get("X-Error-Code"), headers.get("X-Error-Message")
    if status == 401 and token and (message == BAD_TOKEN or not code):
        return f"the Hub refuses the token (HF_TOKEN) for {model}: it is wrong, revoked or expired; make a new one"
    if code == "RevisionNotFound":
        return f"{model} has no revision {revision or 'main'}"
    kind = "RepoNotFound" if status == 401 and not code else code or ("Forbidden" if status == 403 else "")
    return NO_ENTRY[kind][bool(token)].format(model=model) if kind in NO_ENTRY else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_broken(error: BaseException) -> bool:
    if type(error).__name__ == "OfflineModeIsEnabled":  # the client's ConnectionError for a wish of the user
        return False
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    return any(
        kind.__module__.partition(".")[0] in NETWORK_LIBRARIES and kind.__name__ in BROKEN_CONNECTIONS
        for kind in type(error).__mro__
    )


def _is_busy(error: BaseException) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(status, int) and (status >= 500 or status in BUSY)
