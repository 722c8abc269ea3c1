"""Evidence and consequence: how a batch is made after all that happened to it, and what an error costs it.

docs/architecture.md has the table; everything here decides and nothing acts.
"""

import random
from enum import StrEnum

import msgspec
import redis

from posemill.errors import HubAway, LeaseLost, RunFault, TransientError, in_words
from posemill.queue.ledger import History
from posemill.settings import Settings

FIRST_DELAY_SECONDS = 1.0  # before a second attempt; doubles with each further one
LONGEST_DELAY_SECONDS = 60.0
SILENT_EXPIRIES = 5  # leases that ran out without a word, after which a batch is looked at row by row
ROW_FAILURES = 3  # attempts row by row that an unknown error ended; then the run is at fault


class Manner(StrEnum):
    """How a batch is made."""

    TOGETHER = "together"
    ROW_BY_ROW = "row by row"  # so that a row that cannot be made takes no neighbour along
    ISOLATED = "isolated"  # row by row, in a process that makes nothing else, watched by this one


class HandBack(msgspec.Struct, frozen=True, kw_only=True):
    """How a batch that was not finished goes back in line."""

    delay_seconds: float = 0.0
    failed: bool = False  # charged: an attempt that an unknown error ended
    put_off: bool = False  # counted as a delay
    error: str = ""


class Draining(Exception):
    """The worker is ending, and the batch has not reached the device yet."""


def manner_of(history: History, settings: Settings) -> Manner:
    """How to make a batch with that history."""
    if history.deaths >= settings.max_attempts or history.expiries >= SILENT_EXPIRIES:
        return Manner.ISOLATED
    if history.failures >= settings.max_attempts or history.delays >= settings.max_delays:
        return Manner.ROW_BY_ROW
    return Manner.TOGETHER


def is_out_of_delays(history: History, settings: Settings) -> bool:
    """Whether a transient error now fails the row that meets it alone."""
    return history.delays >= settings.max_delays


def is_hopeless(history: History, settings: Settings) -> bool:
    """Whether not even its rows could be told apart: an error that is no row's and no service's."""
    return history.failures >= settings.max_attempts + ROW_FAILURES


def hand_back(error: Exception, history: History) -> HandBack:
    """What an error that ended an attempt means for the batch. RunFault is the run's, and not asked here."""
    if isinstance(error, LeaseLost | Draining):
        return HandBack()
    if isinstance(error, HubAway):  # no row is nearer to it than another, and what was fetched is kept
        return HandBack(delay_seconds=retry_delay(history.claims), error=in_words(error))
    if isinstance(error, TransientError):
        delay_seconds = retry_delay(history.delays + 1)
        return HandBack(delay_seconds=delay_seconds, put_off=True, error=in_words(error))
    delay_seconds = retry_delay(history.failures + 1)
    return HandBack(delay_seconds=delay_seconds, failed=True, error=in_words(error))


def is_of_no_row(error: Exception) -> bool:
    """Whether an error that a row met alone says nothing about the row."""
    return isinstance(error, LeaseLost | Draining | RunFault | TransientError | redis.RedisError)


def is_device_lost(error: Exception) -> bool:
    """Whether the device's context is gone, so that this process can compute nothing any more.

    torch raises AcceleratorError for CUDA's sticky errors; older versions a RuntimeError that begins with these words.
    """
    return type(error).__name__ == "AcceleratorError" or str(error).startswith("CUDA error")


def retry_delay(times: int) -> float:
    """Seconds until the next attempt: doubling, bounded, and spread by a quarter either way."""
    delay = min(FIRST_DELAY_SECONDS * 2 ** min(times - 1, 30), LONGEST_DELAY_SECONDS)
    return float(delay * random.uniform(0.75, 1.25))


def gave_up(ends: list[str]) -> str:
    """Why a row is failed that ended the processes which made it and nothing else."""
    return f"given up: {len(ends)} processes that made it alone ended: {'; '.join(ends)}"
