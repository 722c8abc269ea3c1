"""`python -m benchmarks [FIGURE …]`: measure, and print a JSON line for each figure."""

import importlib
import subprocess
import sys
from collections.abc import Iterable

from benchmarks.figure import Figure

MODULES: dict[str, tuple[str, ...]] = {  # a module measures its figures together
    "detecting": ("detect_speedup",),
    "detect_parity": ("detect_parity",),
    "starting": ("start_time",),
    "planning": ("plan_rate", "plan_memory", "plan_memory_ratio", "redis_memory", "status_latency"),
    "rebuilding": ("rebuild_rate",),
    "device_busy": ("device_busy",),
    "fleet_busy": ("fleet_busy",),
    "overhead": ("overhead_cpu",),
    "ledger_rate": ("ledger_rate", "ledger_growth"),
    "judging": ("verify_rate",),
    "verified_busy": ("verified_busy", "later_batches_full"),
    "loop_gain": ("loop_gain",),
    "card_speedup": ("card_speedup",),
    "encoding": ("webp_size",),
    "exporting": ("export_rate", "export_limit"),
    "export_memory": ("export_memory",),
}


def main(asked: list[str]) -> int:
    """Measure the figures asked for, or all; 2 when a name is unknown."""
    known = [name for names in MODULES.values() for name in names]
    unknown = [name for name in asked if name not in known]
    if unknown:
        print(f"no figure is called {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = {module: [name for name in names if not asked or name in asked] for module, names in MODULES.items()}
    wanted = {module: names for module, names in chosen.items() if names}
    if len(wanted) > 1:  # each in a process of its own: what one sets, threads for instance, must not reach the next
        commands = ([sys.executable, "-m", "benchmarks", *names] for names in wanted.values())
        return max(subprocess.run(command, check=False).returncode for command in commands)
    for module, names in wanted.items():
        for figure in measure(module):
            if figure.name in names:
                print(figure.line(), flush=True)
    return 0


def measure(module: str) -> Iterable[Figure]:
    """The figures of one module, as they come."""
    measured: Iterable[Figure] = importlib.import_module(f"benchmarks.{module}").measure()
    return measured


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
