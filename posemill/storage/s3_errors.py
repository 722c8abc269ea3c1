"""botocore's errors as posemill's own: what to try again, what is one row's mistake, what is the whole run's."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    EndpointProviderError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from posemill.errors import BadInput, NotFound, PosemillError, RunFault, ServiceError, TransientError

VARIABLES = "look at AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE, boto3's other variables and the files in ~/.aws"


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
    if isinstance(error, HTTPClientError) and isinstance(error.kwargs.get("error"), ValueError):
        # Its text repeats the header, which may hold a session token.
        return RunFault(f"{place}: the credentials or the proxy's address hold what cannot be sent; {VARIABLES}")
    for kinds, known, words in _FAILURES:
        if isinstance(error, kinds):
            return known(f"{place}: {words}")
    return TransientError(f"{place}: {in_a_line(error)}")


def unusable(error: Exception) -> ServiceError:
    """For what boto3 raises where its own variables and files cannot be used."""
    return ServiceError(f"storage cannot be used as boto3 is set up ({in_a_line(error)}); {VARIABLES}")


def in_a_line(error: Exception) -> str:
    """An error's message in one line of at most 300 letters."""
    return " ".join(str(error).split())[:300] or type(error).__name__


_FAILURES: tuple[tuple[tuple[type[BotoCoreError], ...], type[PosemillError], str], ...] = (
    (
        (NoCredentialsError, PartialCredentialsError),
        RunFault,
        "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    ((ParamValidationError,), BadInput, "storage takes no such address; mend it"),
    ((EndpointProviderError,), RunFault, f"the storage server has no usable address; {VARIABLES}"),
    (
        (EndpointConnectionError,),
        TransientError,
        "cannot reach the storage server; is AWS_ENDPOINT_URL right? Here it may be `posemill up` that is missing",
    ),
)
_REFUSES = (RunFault, "storage refuses; check the bucket and the credentials")
_GONE = (NotFound, "no such object")
_IMPOSSIBLE = (BadInput, "storage takes no such address; mend it")
_LACKS = (
    RunFault,
    "the server does not know what was asked of it; if that is checksums, set "
    "AWS_REQUEST_CHECKSUM_CALCULATION=when_required and AWS_RESPONSE_CHECKSUM_VALIDATION=when_required",
)
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
    "NotImplemented": _LACKS,
    "501": _LACKS,
}


def _of_answer(error: ClientError, place: str) -> PosemillError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    unknown = TransientError, "storage cannot answer"
    kind, words = _ANSWERS.get(code) or _ANSWERS.get(status) or unknown
    return kind(f"{place}: {words} ({status} {code})")
