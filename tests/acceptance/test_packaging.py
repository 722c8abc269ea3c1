"""The built wheel in a fresh environment, as somebody without a checkout has it: the light installation alone."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIGHT_LIMIT_BYTES = 120_000_000
INSTALLERS = {"pip", "setuptools", "pkg_resources", "_distutils_hack"}  # Python's own, in every environment
RECIPE = "sources: photos\nprompts: [a figure]\ngenerate: {model: embedded}\n"


def run(folder: Path, *command: object) -> str:
    """What a command prints; it must end well."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist, built from a copy, for setuptools leaves files in the folder that it builds."""
    folder = tmp_path_factory.mktemp("packaging")
    left_out = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for package in ("posemill", "producer", "workers"):
        shutil.copytree(ROOT / package, folder / "copy" / package, ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "copy")
    run(folder, sys.executable, "-m", "build", "--outdir", folder / "dist", folder / "copy")
    return folder / "dist"


@pytest.fixture(scope="module")
def light(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("light")
    run(folder, sys.executable, "-m", "venv", folder / "venv")
    (wheel,) = built.glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    run(folder, python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
    return folder


@pytest.mark.timeout(300)
def test_wheel_and_sdist_hold_the_demo_and_not_the_workers_weights(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    demo = ("demo.yaml", "submit_and_wait.py", "photos/astronaut.png", "photos/cameraman.png", "photos/README.md")
    assert {f"producer/examples/{name}" for name in demo} <= set(names)
    assert {f"{package}/py.typed" for package in ("posemill", "producer", "workers")} <= set(names)
    assert not [name for name in names if name.startswith(("workers/weights/", "tests/"))]
    assert "astronaut.png" in run(built, "tar", "tzf", sdist)


@pytest.mark.timeout(300)
def test_the_light_installation_plans_a_run_and_offers_its_names(light: Path) -> None:
    command, python = light / "venv/bin/posemill", light / "venv/bin/python"
    assert "Usage: posemill" in run(light, command, "--help")
    assert "Usage: " in run(light, python, "-m", "posemill", "--help")
    shutil.copytree(ROOT / "examples" / "photos", light / "photos")
    (light / "recipe.yaml").write_text(RECIPE)
    assert "2 sources, 2 items" in run(light, command, "submit", "recipe.yaml", "--dry-run")
    offered = "import posemill; print(*(getattr(posemill, name).__name__ for name in posemill.__all__))"
    found = run(light, python, "-P", "-c", offered).split()
    assert {"submit", "open_run", "export", "check", "preview", "Settings", "RecipeError"} <= set(found)


@pytest.mark.timeout(300)
def test_the_light_installation_names_the_extras_that_it_lacks(light: Path) -> None:
    (light / "m.parquet").write_bytes(b"PAR1")
    (light / "rows.yaml").write_text(RECIPE.replace("photos", "m.parquet"))
    done = subprocess.run([light / "venv/bin/posemill", "submit", "rows.yaml", "--dry-run"], cwd=light,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, "pip install 'posemill[parquet]'" in done.stderr) == (2, True), done.stderr


@pytest.mark.timeout(300)
def test_the_light_installation_stays_light(light: Path) -> None:
    (installed,) = (light / "venv").glob("lib/python*/site-packages")
    sizes = {path: path.stat().st_size for path in installed.rglob("*")
             if path.is_file() and path.relative_to(installed).parts[0].split("-")[0] not in INSTALLERS}  # fmt: skip
    assert sum(sizes.values()) < LIGHT_LIMIT_BYTES
