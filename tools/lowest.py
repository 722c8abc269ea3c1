"""`python -m tools.lowest [NAME…]`: whether posemill works with the lowest versions that pyproject.toml allows.

All of them together, imported and tested, and each NAME (without any: every library) at its lowest beside the newest
of the others, imported. Each in an environment of its own, made by uv. PyTorch alone is the one that is installed
here, for its lowest would be gigabytes: it is linked into each environment.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = (sys.executable, "-m", "uv")
EXTRAS = ("workers", "dwpose", "embedded", "export")
TORCH = re.compile(r"(torch|torchvision|triton|nvidia[\w-]*|cuda[\w-]*)$")
FOR_TESTS = ("pytest", "pytest-timeout", "hypothesis", "psutil")  # of the extra dev
QUICK_TESTS = (
    "tests/unit/test_structure.py", "tests/unit/storage/test_urls.py", "tests/unit/recipes/test_recipe.py",
    "tests/unit/sources/test_manifests.py", "tests/unit/exports/test_exporting.py", "tests/unit/models/test_loading.py",
    "tests/integration/test_pipelines.py", "tests/integration/test_ledger.py", "tests/integration/test_storage.py",
)  # fmt: skip
IMPORT_ALL = """
import importlib, pathlib, sys
for package in ("posemill", "producer", "workers"):
    for path in sorted(pathlib.Path(package).rglob("*.py")):
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        if not name.endswith("__main__") and not name.endswith(".dwpose"):  # rtmlib is installed by hand
            importlib.import_module(name)
from diffusers import StableDiffusionControlNetPipeline, StableDiffusionXLControlNetPipeline
"""


def main() -> int:
    wanted, for_tests = requirements(ROOT / "pyproject.toml")
    with tempfile.TemporaryDirectory(prefix="posemill-lowest-") as folder:
        together = works_together(Path(folder), [*wanted, *for_tests])
        floors = lowest(Path(folder) / "together" / "pins.txt", wanted)
        failed = [each for each in sys.argv[1:] or floors if not works_alone(Path(folder), wanted, each, floors[each])]
    return 0 if together and not failed else 1


def requirements(project: Path) -> tuple[list[str], list[str]]:
    """Every library that posemill asks for, and those that its tests do."""
    wanted = tomllib.loads(project.read_text())["project"]
    extras = wanted["optional-dependencies"]
    libraries = [*wanted["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
    return libraries, [line for line in extras["dev"] if re.split("[<>=]", line)[0] in FOR_TESTS]


def lowest(pins: Path, wanted: list[str]) -> dict[str, str]:
    """The lowest versions that there are of the libraries that are wanted by name, as the resolver found them."""
    named = {_plain(match[0]) for line in wanted if (match := re.match(r"[\w-]+", line))}
    found = (line.partition("==") for line in pins.read_text().splitlines())
    return {name: version for name, _, version in found if _plain(name) in named}


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def works_together(folder: Path, wanted: list[str]) -> bool:
    python = environment(folder / "together", wanted, "lowest-direct")
    return (
        python is not None
        and is_well("imports, all at their lowest", python, "-c", IMPORT_ALL)
        and is_well("tests, all at their lowest", python, "-m", "pytest", "-q", "-x", *QUICK_TESTS)
    )


def works_alone(folder: Path, wanted: list[str], name: str, version: str) -> bool:
    place = folder / name
    python = environment(place, [*wanted, f"{name}=={version}"], "highest")
    well = python is not None and is_well(f"imports, {name} {version} beside the newest", python, "-c", IMPORT_ALL)
    shutil.rmtree(place, ignore_errors=True)
    return well


def environment(place: Path, wanted: list[str], resolution: str) -> str | None:
    """A Python with what is wanted, in the versions that the resolver chooses; None when there are none."""
    place.mkdir(parents=True)
    (place / "wanted.txt").write_text("".join(f"{line}\n" for line in wanted))
    pins, python = place / "pins.txt", str(place / "env" / "bin" / "python")
    compiled = ("pip", "compile", "-q", "--no-annotate", "--no-header", "--resolution", resolution, "-o", str(pins))
    if not is_well(f"resolves, {place.name}", *UV, *compiled, str(place / "wanted.txt")):
        return None
    lines = [line for line in pins.read_text().splitlines() if not TORCH.match(line.partition("==")[0])]
    pins.write_text("".join(f"{line}\n" for line in lines))
    run(*UV, "venv", "-q", "--python", sys.executable, str(place / "env"))
    run(*UV, "pip", "install", "-q", "--no-deps", "--python", python, "-r", str(pins))
    link_torch(next(place.glob("env/lib/python*/site-packages")))
    return python


def link_torch(site_packages: Path) -> None:
    """The PyTorch that is installed here, with its compiler and the card's libraries."""
    named = (match[0] for line in distribution("torch").requires or [] if (match := re.match(r"[\w-]+", line)))
    for name in ("torch", "torchvision", *(name for name in named if TORCH.match(name))):
        for top in top_folders(name):
            if not (site_packages / top.name).exists():
                (site_packages / top.name).symlink_to(top)


def top_folders(name: str) -> set[Path]:
    """What a package put beside the others."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:  # of another system
        return set()
    root = Path(str(distribution(name).locate_file("")))
    return {root / path.parts[0] for path in files if path.parts[0] not in ("..", "__pycache__")}


def is_well(what: str, *command: str) -> bool:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    words = "" if done.returncode == 0 else f"\n{(done.stdout.strip() + done.stderr.strip())[-2500:]}"
    print(f"{'ok   ' if done.returncode == 0 else 'FAILS'} {what}{words}", flush=True)
    return done.returncode == 0


def run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
