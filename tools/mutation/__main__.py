"""`python -m tools.mutation`: the share of mutants that the tests notice, and those that they do not."""

import argparse
import random
import sys
import tempfile
import time
import tomllib
from contextlib import ExitStack
from pathlib import Path

from producer.local.services import EmbeddedServices
from tools.mutation.core import AREAS
from tools.mutation.operators import UNSEEN, Mutant, mutants_of
from tools.mutation.runner import ROOT, Trial

EQUIVALENT = Path(__file__).parent / "equivalent.toml"  # mutants that change no behaviour, each with its reason
GOAL = 0.9
LIMIT_SECONDS = 120.0  # a mutant whose tests take longer has made them hang

Job = tuple[Mutant | None, tuple[str, ...]]


def main() -> int:
    """Try a sample of each file's mutants and print what survived; 0 when every area reaches the goal."""
    options = _options()
    known = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["equivalent"]
    chosen = [
        (mutant, tests)
        for area, files in AREAS.items()
        for file, tests in files.items()
        if options.only in file or options.only in area
        for mutant in _sample(file, options.each, options.seed, set(known))
    ]
    if options.equivalent:
        _print_equivalent(known)
        return 0
    begun = time.monotonic()
    with ExitStack() as stack:
        lanes = [_started(stack) for _ in range(options.lanes)]
        _import_libraries()
        if red := [
            tests for (_, tests), noticed in _tried([(None, tests) for tests in _all_tests(chosen)], lanes) if noticed
        ]:
            print(f"these fail as they are: {red}")
            return 2
        results = [(job[0], noticed) for job, noticed in _tried(chosen, lanes, say=True)]
    return _report([(mutant, noticed) for mutant, noticed in results if mutant], time.monotonic() - begun)


def _report(results: list[tuple[Mutant, bool]], seconds: float) -> int:
    scores = []
    for area, files in AREAS.items():
        if noticed := [seen for mutant, seen in results if mutant.file in files]:
            scores.append(sum(noticed) / len(noticed))
            print(f"{scores[-1]:6.1%}  {area}: {sum(noticed)} of {len(noticed)}")
        for file in files:
            if noticed := [seen for mutant, seen in results if mutant.file == file]:
                print(f"          {file}: {sum(noticed)} of {len(noticed)}")
    seen = sum(noticed for _, noticed in results)
    print(f"{seen} of {len(results)} mutants noticed ({seen / max(1, len(results)):.1%}) in {seconds:.0f} s")
    return 0 if min(scores, default=0) >= GOAL else 1


def _print_equivalent(reasons: dict[str, str]) -> None:
    print("Not broken, for no test could notice:")
    for name, reason in {**UNSEEN, **reasons}.items():
        print(f"  {name}\n    {reason}")


def _tried(jobs: list[Job], lanes: list[EmbeddedServices], *, say: bool = False) -> list[tuple[Job, bool]]:
    """Each job's mutant under its tests, one in each lane at a time."""
    waiting, running, results = jobs[::-1], dict[int, tuple[Job, Trial]](), list[tuple[Job, bool]]()
    while waiting or running:
        for lane, services in enumerate(lanes):
            if lane not in running and waiting:
                job = waiting.pop()
                running[lane] = (
                    job,
                    Trial(*job, services, limit_seconds=LIMIT_SECONDS if job[0] else 10 * LIMIT_SECONDS),
                )
        for lane, (job, trial) in list(running.items()):
            if (noticed := trial.noticed()) is not None:
                results.append((job, noticed))
                del running[lane]
                if say and not noticed and job[0]:
                    print(f"survived  {job[0].file}:{job[0].line}  {job[0].before}  ->  {job[0].after}", flush=True)
        time.sleep(0.02)
    return results


def _sample(file: str, each: int, seed: int, known: set[str]) -> list[Mutant]:
    found = [one for one in mutants_of(file, (ROOT / file).read_text(encoding="utf-8")) if one.name not in known]
    if len(found) <= each:
        return found
    return sorted(random.Random(f"{seed} {file}").sample(found, each), key=lambda mutant: mutant.line)


def _all_tests(chosen: list[tuple[Mutant, tuple[str, ...]]]) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(tests for _, tests in chosen))


def _started(stack: ExitStack) -> EmbeddedServices:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="posemill-mutation-"))
    return stack.enter_context(EmbeddedServices(Path(folder) / "services"))


def _import_libraries() -> None:
    """Once, for all processes that are forked from here."""
    import boto3  # noqa: F401
    import celery.bin.celery  # noqa: F401
    import hypothesis  # noqa: F401
    import numpy as np  # noqa: F401
    import PIL.Image  # noqa: F401
    import pyarrow.parquet  # noqa: F401


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=__doc__)
    parser.add_argument("--only", default="", help="files whose path, or whose area's name, holds this")
    parser.add_argument("--each", type=int, default=12, help="mutants of a file at most")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--lanes", type=int, default=2, help="mutants at a time")
    parser.add_argument("--equivalent", action="store_true", help="list what is not broken, with the reasons, and end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
