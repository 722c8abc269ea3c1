"""How a module of ours is started as a process of its own, whatever lies in the current folder."""

import sys


def module_command(module: str, *arguments: str) -> tuple[str, ...]:
    """`python -m module arguments`, which never looks for modules in the current folder (-P).

    A `workers/`, `random.py` or `yaml.py` that the user keeps there is theirs, and would be run instead of ours.
    """
    return (sys.executable, "-P", "-m", module, *arguments)
