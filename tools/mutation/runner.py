"""Runs the tests of a mutant in a process of its own, which begins with libraries imported and the servers running."""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from producer.local.services import EmbeddedServices
from tools.mutation.operators import Mutant

ROOT = Path(__file__).parents[2]
OURS = ("posemill", "producer", "workers", "tests")
QUIET = ("-x", "-q", "-W", "default", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--durations=0")


class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module broken, and all others as they are."""

    def __init__(self, mutant: Mutant) -> None:
        self._module = mutant.file.removesuffix(".py").replace("/", ".")
        self._content = mutant.content
        self._path = str(ROOT / mutant.file)

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The broken module's place, when that is asked for."""
        return importlib.util.spec_from_file_location(name, self._path, loader=self) if name == self._module else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """None: a usual module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the broken source in place of the file's."""
        exec(compile(self._content, self._path, "exec"), module.__dict__)


class Trial:
    """A mutant under test; with none, the code as it is."""

    def __init__(
        self, mutant: Mutant | None, tests: tuple[str, ...], services: EmbeddedServices, *, limit_seconds: float
    ) -> None:
        self.mutant = mutant
        self._deadline = time.monotonic() + limit_seconds
        self._process = os.fork()
        if self._process == 0:
            os._exit(_run(mutant, tests, services))

    def noticed(self) -> bool | None:
        """Whether a test failed or hung; None while they run."""
        ended, status = os.waitpid(self._process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) != 0
        if time.monotonic() < self._deadline:
            return None
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        return True


def _run(mutant: Mutant | None, tests: tuple[str, ...], services: EmbeddedServices) -> int:
    os.setpgid(0, 0)
    if mutant:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
    if mutant and mutant.file.endswith(".lua"):
        _break_script((ROOT / mutant.file).read_text(), mutant.content)
    elif mutant:
        sys.meta_path.insert(0, Broken(mutant))
    status = 1  # also of a mutant that cannot even be imported
    with suppress(Exception):
        _serve(services)
        status = int(pytest.main([*QUIET, *tests]))
    sys.stdout.flush()
    return status


def _serve(services: EmbeddedServices) -> None:
    """The tests' servers are those that run already."""
    from producer.local import services as module

    class Running:
        """Stands in for servers that a test session would start."""

        def __init__(self, *_: object) -> None: ...

        def __enter__(self) -> EmbeddedServices:
            return services

        def __exit__(self, *_: object) -> None: ...

    module.EmbeddedServices = Running  # type: ignore[assignment,misc]


def _break_script(whole: str, broken: str) -> None:
    """Whoever registers the script gets the broken one."""
    import redis

    register = redis.Redis.register_script

    def registering(client: Any, text: str) -> Any:
        return register(client, broken if text == whole else text)

    redis.Redis.register_script = registering  # type: ignore[method-assign]
