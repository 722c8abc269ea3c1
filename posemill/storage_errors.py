"""botocore's errors as posemill's own: what to try again, what is one row's mistake, what is the whole run's."""

from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError

from posemill.errors import BadInput, NotFound, PosemillError, RunFault, TransientError


class PreconditionFailed(PosemillError):
    """The key exists already."""


class NoSuchBucket(RunFault):
    """The bucket itself is missing."""


class WriteConflict(PosemillError):
    """Another write to the key is in flight."""


def translated(error: ClientError | BotoCoreError, place: str) -> PosemillError:
    """posemill's own error for one of botocore's; the message never holds credentials."""
    if isinstance(error, ClientError):
        return _of_answer(error, place)
    if isinstance(error, NoCredentialsError):
        return RunFault(f"{place}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if isinstance(error, EndpointConnectionError):
        return TransientError(f"{place}: cannot reach the storage server; is AWS_ENDPOINT_URL right?")
    return TransientError(f"{place}: {error}")


_REFUSES = (RunFault, "storage refuses; check the bucket and the credentials")
_GONE = (NotFound, "no such object")
_IMPOSSIBLE = (BadInput, "storage takes no such address; mend it")
_ANSWERS: dict[str, tuple[type[PosemillError], str]] = {  # by S3's error code, or by HTTP status where that is all
    "412": (PreconditionFailed, "the key exists already"),
    "409": (WriteConflict, "another write is in flight"),
    "404": _GONE,
    "NoSuchKey": _GONE,
    "NotFound": _GONE,
    "NoSuchBucket": (NoSuchBucket, "storage refuses, there is no such bucket; create it or mend the address"),
    "403": _REFUSES,
    "AccessDenied": _REFUSES,
    "InvalidAccessKeyId": _REFUSES,
    "SignatureDoesNotMatch": _REFUSES,
    "ExpiredToken": _REFUSES,
    "InvalidToken": _REFUSES,
    "RequestTimeTooSkewed": (TransientError, "this machine's clock is wrong, so storage refuses it; set the clock"),
    "InvalidRequest": _IMPOSSIBLE,
    "InvalidURI": _IMPOSSIBLE,
    "InvalidArgument": _IMPOSSIBLE,
    "InvalidBucketName": _IMPOSSIBLE,
    "KeyTooLongError": _IMPOSSIBLE,
}


def _of_answer(error: ClientError, place: str) -> PosemillError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    unknown = TransientError, "storage cannot answer"
    kind, words = _ANSWERS.get(code) or _ANSWERS.get(status) or unknown
    return kind(f"{place}: {words} ({status} {code})")
