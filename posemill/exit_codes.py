"""What a command's exit status says: the one table, shown by `posemill --help` and docs/exit-codes.md."""

from enum import IntEnum


class ExitCode(IntEnum):
    """0 says that nothing is missing; every other ending has a number of its own."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    UNREACHABLE = 3
    CANCELLED = 4
    PAUSED = 5
    NOT_OVER = 6
    NOTHING_TO_DO = 7
    INTERRUPTED = 130

    @property
    def words(self) -> str:
        """What the code means, as `--help` says it."""
        return WORDS[self]


WORDS = {
    ExitCode.DONE: "every item is done or rejected by rule; or the command did what it was asked",
    ExitCode.FAILED: "the run ended with failed items or refused rows; or a check found faults",
    ExitCode.WRONG_USAGE: "wrong usage, recipe, run id, path or setting",
    ExitCode.UNREACHABLE: "a service cannot be reached or used, or this machine is out of order",
    ExitCode.CANCELLED: "the run was cancelled",
    ExitCode.PAUSED: "the run was paused by a fault, which the message names",
    ExitCode.NOT_OVER: "the run is not over yet: --timeout has passed, or an export without --partial",
    ExitCode.NOTHING_TO_DO: "there is nothing to read where the sources should be; with --allow-empty that is 0",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C; a submitted run goes on",
}
