"""Runs a command that ends when the process that started it ends: `die_with_parent.py PARENT_PID COMMAND…`.

The supervisor runs this file as a script in front of each child. It becomes the command by exec, so
process id, group, environment and output stay the same, and unlike a `preexec_fn` it is safe in a program
with threads. Linux only: elsewhere the command is run all the same, and outlives a parent that is killed
with SIGKILL.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def ask_to_die_with_parent() -> None:
    """SIGKILL, because once the parent is gone nobody is left to follow up an ignored SIGTERM."""
    try:
        import ctypes
    except ImportError:  # a Python built without libffi
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(parent_pid: int, command: list[str]) -> None:
    """Run the command that is given, and end it when this process's parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback when Ctrl-C comes before the command
    if sys.platform == "linux":
        ask_to_die_with_parent()
    if os.getppid() != parent_pid:  # it ended before the request above was made
        sys.exit(f"posemill: not starting {command[0]}: its supervisor (pid {parent_pid}) is gone")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"posemill: cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
