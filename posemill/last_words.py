"""What the command line says of an error, whatever it is: one sentence and an exit status, never a traceback."""

import errno
import os
from typing import NamedTuple

from posemill.errors import NothingToDo, NotOver, PermanentError, PosemillError, RunPaused
from posemill.exit_codes import ExitCode

LONGEST_WORDS = 500
OUT_OF_ORDER = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
                errno.EFBIG, errno.EPIPE}  # fmt: skip  # of the machine; every other error of a path is the path's
SERVICES = {"redis": "Redis", "botocore": "storage", "boto3": "storage", "kombu": "Redis", "urllib3": "a server"}


ENDINGS: dict[type[PosemillError], ExitCode] = {  # the first that fits
    NothingToDo: ExitCode.NOTHING_TO_DO,
    PermanentError: ExitCode.WRONG_USAGE,
    RunPaused: ExitCode.PAUSED,
    NotOver: ExitCode.NOT_OVER,
    PosemillError: ExitCode.UNREACHABLE,
}


class LastWords(NamedTuple):
    """An error as the command line's last sentence and exit status."""

    sentence: str
    status: ExitCode
    is_known: bool = True


def last_words(error: BaseException) -> LastWords:
    """What the command line says of an error before it ends."""
    if isinstance(error, PosemillError):
        return LastWords(str(error), next(code for kind, code in ENDINGS.items() if isinstance(error, kind)))
    if isinstance(error, BrokenPipeError):
        return LastWords("the output was closed before all of it was written", ExitCode.UNREACHABLE)
    if isinstance(error, UnicodeError):
        return LastWords(
            f"a text cannot be read or written as Unicode ({_text_of(error)}); mend it", ExitCode.WRONG_USAGE
        )
    service = SERVICES.get(type(error).__module__.partition(".")[0])
    if service:
        return LastWords(f"{service} does not answer as it should ({_words(error)}); try again", ExitCode.UNREACHABLE)
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error)
    return _of_python(error)


def _of_system(error: OSError) -> LastWords:
    places = " and ".join(ascii(os.fspath(name)) for name in (error.filename, error.filename2) if _is_path(name))
    words = f"{places or 'the system'}: {error.strerror or _words(error)}"
    return LastWords(words, ExitCode.UNREACHABLE if error.errno in OUT_OF_ORDER else ExitCode.WRONG_USAGE)


def _of_python(error: BaseException) -> LastWords:
    if isinstance(error, RecursionError):
        return LastWords("what was given is nested too deeply to be read", ExitCode.WRONG_USAGE)
    if isinstance(error, MemoryError):
        return LastWords("this machine's memory is too short for it", ExitCode.UNREACHABLE)
    if isinstance(error, ValueError) and "null" in str(error):
        return LastWords("a path or name holds a null character; remove it", ExitCode.WRONG_USAGE)
    words = f"something went wrong that posemill did not foresee, {_words(error)}; please report it"
    return LastWords(words, ExitCode.UNREACHABLE, is_known=False)


def _is_path(name: object) -> bool:
    return isinstance(name, (str, bytes, os.PathLike)) and bool(name)


def _text_of(error: UnicodeError) -> str:
    if isinstance(error, (UnicodeEncodeError, UnicodeDecodeError)):
        begin = max(error.start - 20, 0)
        return f"{error.object[begin : error.end + 20]!a}: {error.reason}"
    return _words(error)


def _words(error: BaseException) -> str:
    """The error on one line that any terminal can print."""
    words = " ".join(str(error).split()).encode("utf-8", "backslashreplace").decode()[:LONGEST_WORDS]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
