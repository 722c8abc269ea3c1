"""The command line starts at once, says in one line what is wrong, and ends with the status that tells it."""

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import posemill
from posemill import __version__
from posemill.errors import (
    NotFound,
    NothingToDo,
    NotOver,
    RecipeError,
    RunConflict,
    RunFault,
    RunPaused,
    ServiceError,
    TransientError,
)
from posemill.exit_codes import ExitCode
from posemill.settings import unknown_variables
from producer.cli import main as cli
from producer.cli.usage_examples import EXAMPLES
from tests.small_pictures import picture

COMMANDS = {
    "demo", "up", "worker", "submit", "status", "runs", "failures", "resume", "retry", "cancel", "pause", "unpause",
    "preview", "verify", "check", "export", "doctor", "health",
    "adopt-store", "prune", "delete", "forget", "init", "recipe", "logs", "open",
    "models",
}  # fmt: skip
WITHOUT_JSON = {
    "demo",
    "up",
    "worker",
    "health",
    "init",
    "recipe",
    "logs",
}  # they report nothing that a program would read
RECIPE = (
    "sources: photos\nprompts: [p]\nseeds: 2\ndetect: {detector: openpose-thin}\ngenerate: {base: m, controlnet: m}\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty current folder with a recipe and its sources, and no setting in the environment."""
    for name in [name for name in os.environ if name.startswith(("POSEMILL_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "m").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(picture())
    return tmp_path


@pytest.fixture
def call(monkeypatch, capfd):
    """Runs a command line; gives exit status, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["posemill", *words])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0), *capfd.readouterr()
        return 0, *capfd.readouterr()

    return run


@pytest.fixture
def closed_port():
    """A port of this machine that is taken, but where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text.strip()


def test_help_lists_every_command_with_a_sentence():
    listed = CliRunner().invoke(cli.posemill, ["--help"]).output.split("Commands:\n")[1].splitlines()
    words = {line.split()[0]: line.split()[1:] for line in listed}
    assert set(words) == COMMANDS
    assert all(len(sentence) > 2 for sentence in words.values())


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command):
    done = CliRunner().invoke(cli.posemill, [command, "--help"])
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: posemill {command} ")


@pytest.mark.parametrize("example", [example for examples in EXAMPLES.values() for example in examples])
def test_the_examples_of_every_command_s_help_can_be_typed(example, folder):
    (folder / "chefs.yaml").write_text(RECIPE)
    (folder / "examples").mkdir()
    (folder / "examples/controls.yaml").write_text(RECIPE)
    _, name, *words = shlex.split(example.partition(" > ")[0])
    cli.posemill.commands[name].make_context(name, words)
    assert f"  {example}\n" in CliRunner().invoke(cli.posemill, [name, "--help"]).output
    (longest,) = {max(map(len, CliRunner().invoke(cli.posemill, [name, "--help"]).output.splitlines()))}
    assert longest <= 110


def test_every_command_that_reports_takes_json():
    with_json = {name for name, found in cli.posemill.commands.items() if any("--json" in p.opts for p in found.params)}
    assert with_json == COMMANDS - WITHOUT_JSON


def test_the_version_is_told(call):
    assert call("--version") == (0, f"posemill, version {__version__}\n", "")


def test_help_imports_no_heavy_library_and_takes_little_time():
    code = "import sys; sys.argv = ['posemill', '--help']; import atexit; from producer.cli.main import main\n"
    code += "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = os.times()
    heavy = {
        "boto3",
        "botocore",
        "celery",
        "kombu",
        "redis",
        "pydantic",
        "msgspec",
        "ruamel.yaml",
        "rich",
        "PIL",
        "pyarrow",
    }
    assert "Usage: posemill" in done.stdout
    assert "producer.cli.main" in done.stderr.split()
    assert not heavy.intersection(done.stderr.split())
    assert after.children_user + after.children_system - before.children_user - before.children_system < 0.3


@pytest.mark.parametrize(
    "words",
    [["nothing"], ["submit"], ["submit", "recipe.yaml", "--nothing"], ["worker", "judge"], ["export", "r"], []],
    ids=["unknown command", "no recipe", "unknown option", "unknown stage", "no folder", "no command"],
)
def test_wrong_usage_is_status_2_and_shows_the_usage(call, words):
    status, _, errors = call(*words)
    assert status == 2
    assert errors.startswith("Usage: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(RECIPE + "promts: [q]\n", "promts: unknown key", id="unknown key"),
        pytest.param(RECIPE + "seed: -1\n", "seed: Input should be greater", id="wrong value"),
        pytest.param(RECIPE + "matrix: {room: []}\n", "matrix.room: List should have", id="empty matrix"),
        pytest.param(RECIPE.replace("[p]", "['{a']"), "prompt '{a'", id="open brace"),
        pytest.param(RECIPE.replace("photos", "nowhere"), "nowhere does not exist", id="no sources"),
        pytest.param(RECIPE.replace("base: m", "base: ./no"), "/no' is neither a folder", id="no model"),
        pytest.param("sources: [", "recipe.yaml: not YAML", id="not YAML"),
    ],
)
def test_a_wrong_recipe_is_status_2_and_one_line_that_names_the_key(call, folder, content, message):
    (folder / "recipe.yaml").write_text(content)
    status, output, errors = call("submit", "recipe.yaml", "--dry-run")
    assert (status, output) == (2, "")
    assert message in one_line(errors)


def test_a_wrong_recipe_is_refused_before_any_service_is_asked(call, folder):
    (folder / "recipe.yaml").write_text("promts: [q]\n")
    status, _, errors = call("submit", "recipe.yaml")
    assert status == 2
    assert one_line(errors).startswith("posemill: recipe.yaml: sources: Field required; promts: unknown key")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["submit", "no.yaml"], "posemill: no.yaml: cannot be read (No such file or directory)"),
        (["submit", "recipe.yaml", "--set", "seeds"], "posemill: --set seeds: write it as key=value"),
        (["submit", "recipe.yaml", "--set", "seeds=[1"], "posemill: --set seeds=[1: not YAML"),
    ],
    ids=["no recipe", "override without value", "override that is no YAML"],
)
def test_wrong_arguments_are_status_2_and_one_line(call, words, message):
    status, _, errors = call(*words)
    assert status == 2
    assert one_line(errors).startswith(message)


@pytest.mark.parametrize("words", [["runs"], ["status"], ["health", "detect"]], ids=" ".join)
def test_a_redis_out_of_reach_is_status_3_and_keeps_its_password(call, monkeypatch, closed_port, words):
    monkeypatch.setenv("POSEMILL_REDIS_URL", f"redis://:secret@127.0.0.1:{closed_port}/0")
    status, output, errors = call(*words)
    assert (status, output) == (3, "")
    assert "POSEMILL_REDIS_URL" in one_line(errors)
    assert "secret" not in errors


def test_a_storage_out_of_reach_is_status_3(call, monkeypatch, closed_port):
    monkeypatch.setenv("POSEMILL_STORE", "s3://bucket")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    status, _, errors = call("check", "run-1")
    assert status == 3
    assert "AWS_ENDPOINT_URL" in one_line(errors)


@pytest.mark.parametrize(
    ("store", "expected", "message"),
    [("", 3, "set POSEMILL_STORE to s3://bucket/prefix"), ("bucket", 2, "'bucket' is not an s3:// address"),
     ("s3://", 2, "'s3://' is not an s3:// address"),
     ("s3://a b", 2, "POSEMILL_STORE"), ("s3://[", 2, "POSEMILL_STORE")],
    ids=["none", "not s3", "no bucket", "a blank", "no URL"],
)  # fmt: skip
def test_a_storage_that_is_not_named_rightly_is_one_line(call, monkeypatch, store, expected, message):
    monkeypatch.setenv("POSEMILL_STORE", store)
    status, _, errors = call("check", "run-1")
    assert status == expected
    assert message in one_line(errors)


def test_a_dry_run_counts_and_shows_items_without_any_service(call):
    status, output, errors = call("submit", "recipe.yaml", "--dry-run")
    assert (status, errors) == (0, "")
    assert output.startswith(
        f"1 sources, 2 items, 1 + 1 batches, 2 messages, {len(picture())} bytes to upload; 0 rows refused\n"
    )
    assert len(output.splitlines()) == 4


def test_a_dry_run_in_json_can_be_read_by_a_program(call):
    status, output, _ = call("submit", "recipe.yaml", "--dry-run", "--json", "--set", "seeds=3")
    found = json.loads(output)
    assert (status, found["items"], found["messages"], len(found["first_items"])) == (0, 3, 2, 3)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RecipeError("x"), 2), (NothingToDo("x"), 7), (RunPaused("x"), 5), (NotOver("x"), 6),
        (NotFound("x"), 2), (RunConflict("x"), 2), (click.UsageError("x"), 2),
        (ServiceError("x"), 3), (TransientError("x"), 3), (RunFault("x"), 3),
        (KeyboardInterrupt(), 130), (click.Abort(), 130), (click.exceptions.Exit(1), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)  # fmt: skip
def test_every_kind_of_error_has_its_exit_status(call, monkeypatch, error, status):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli.posemill, "main", fail)
    assert call("runs")[0] == status


def test_help_and_document_show_the_one_table_of_exit_codes():
    shown = " ".join(CliRunner().invoke(cli.posemill, ["--help"]).output.split())
    document = (Path(__file__).parents[3] / "docs" / "exit-codes.md").read_text()
    for code in ExitCode:
        assert f"{code} {code.words}" in shown
        assert f"| {code} | {code.words} |\n" in document


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["submit", "no.yaml", "--json"], "bad_recipe", 2),
        (["submit", "recipe.yaml", "--set", "promts=[a]", "--json"], "bad_recipe", 2),
        (["submit", "recipe.yaml", "--json"], "service", 3),
        (["submit", "--json"], "usage", 2),
        (["submit", "recipe.yaml", "--timeout", "3", "--json"], "usage", 2),
    ],
    ids=["no file", "recipe", "no store", "no argument", "nothing to wait for"],
)
def test_an_error_is_json_where_json_was_asked_for(call, words, code, status):
    ended, output, errors = call(*words)
    error = json.loads(output)["error"]
    assert (ended, error["code"], error["exit_status"]) == (status, code, status)
    assert error["message"] in errors


def services_here(folder: Path) -> None:
    """As `posemill up` leaves them, on ports where nobody answers."""
    state = {"ports": dict.fromkeys(("redis", "s3", "master", "volume", "filer", "admin"), 9),
             "redis_password": "p", "access_key": "a", "secret_key": "s"}  # fmt: skip
    (folder / ".posemill").mkdir(mode=0o700)
    (folder / ".posemill" / "services.json").write_text(json.dumps(state))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"POSEMILL_REDIS_URL": "redis://127.0.0.1:1/0"}, "POSEMILL_STORE is not: set it to"),
        ({"POSEMILL_REDIS_URL": "redis://127.0.0.1:1/0", "POSEMILL_STORE": "s3://bucket"}, "127.0.0.1:1."),
        ({"POSEMILL_REDIS_URL_FILE": "/no/such/file"}, "POSEMILL_STORE is not: set it to"),
        ({}, "127.0.0.1:9."),
    ],
    ids=["Redis alone", "both", "Redis in a file", "neither"],
)
def test_what_the_environment_names_wins_over_the_services_of_the_folder(call, folder, monkeypatch, named, message):
    services_here(folder)
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    try:
        status, _, errors = call("runs")
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert status in (2, 3)
    assert message in errors


@pytest.fixture
def as_before():
    """The environment after the test is the one before it: what is led to services seals it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("named", ["option", "variable"])
def test_the_services_of_another_folder_are_found(call, folder, tmp_path, monkeypatch, as_before, named):
    (elsewhere := tmp_path / "elsewhere").mkdir()
    services_here(elsewhere)
    if named == "variable":
        monkeypatch.setenv("POSEMILL_DIR", str(elsewhere))
    status, _, errors = call(*["--dir", str(elsewhere)] * (named == "option"), "runs")
    assert (status, "127.0.0.1:9" in errors) == (ExitCode.UNREACHABLE, True)


def test_keeping_the_last_runs_is_asked_for_together_with_an_age(call, folder):
    status, _, errors = call("prune", "--keep-last", "3")
    assert (status, "--older-than" in errors) == (ExitCode.WRONG_USAGE, True)


def test_python_finds_the_services_of_the_folder_as_the_commands_do(folder, as_before):
    services_here(folder)
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        posemill.submit({"name": "n", "sources": "x", "prompts": ["p"], "generate": {"model": "embedded"}})
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        posemill.open_run("r")


def test_a_variable_that_nothing_reads_is_named_with_the_one_that_was_meant():
    found = unknown_variables(
        {"POSEMILL_WINDWO": "1", "POSEMILL_STORE": "s", "POSEMILL_USER": "1", "POSEMILL_XYZZY": ""}
    )
    assert found == {"POSEMILL_WINDWO": "POSEMILL_WINDOW", "POSEMILL_XYZZY": ""}


def test_doctor_names_a_variable_that_nothing_reads(call, monkeypatch):
    monkeypatch.setenv("POSEMILL_LEASE_SECOND", "3")
    monkeypatch.setenv("POSEMILL_REDIS_URL", "redis://127.0.0.1:1/0")
    assert "POSEMILL_LEASE_SECONDS?" in call("doctor")[1]
