"""No traceback leaves the command line, whatever shell, files and terminal hold; one sentence and status 2 or 3."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as property_settings
from hypothesis import strategies as st

from posemill.addresses import redis_address
from posemill.errors import BadInput, PosemillError, RunFault, ServiceError
from posemill.last_words import last_words
from posemill.queue.celery_app import make_app
from posemill.settings import Settings, load_settings
from posemill.storage.run_documents import read_run
from posemill.storage.store import open_store
from producer.cli import main as cli
from producer.exports.writing.destinations import open_destination
from producer.local.doctor import examine
from producer.runs.handle import RunHandle
from tests.another_user import as_another_user, needs_root
from tests.small_pictures import picture

RECIPE = "sources: photos\nprompts: [p]\ndetect: {detector: openpose-thin}\ngenerate: {base: m, controlnet: m}\n"
HERE = {"POSEMILL_STORE": "s3://bucket", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden-word",
        "POSEMILL_REDIS_URL": "redis://127.0.0.1:9/0"}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("POSEMILL_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "m").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(picture())
    return tmp_path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["posemill", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run


def is_a_sentence(status: int, errors: str) -> bool:
    return status in (2, 3) and errors.startswith("posemill: ") and errors.count("\n") == 1


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:6379", "localhost", "http://h/0", "unix:///tmp/redis.sock?db=1", "redis+socket:///tmp/x", "redis://",
     "redis://h/x", "redis://h/-1", "redis://h/0/1", "redis://h:port/0", "redis://h:99999/0", "redis://h/0?db=4",
     "redis://h/0?socket_timeout=1", "redis://h/0?nothing=1", "rediss://h/0?ssl_cert_reqs=maybe", "redis://:p#w@h/0",
     "redis://[::1/0", "redis://h /0", "", "redis://:hidden-word@h/zero", "sentinel://h/0", "redis://\udcff/0",
     "REDIS://h/0", "redis://h:0/0", "rediss://h/0?ssl_cert_reqs=none&ssl_cert_reqs=required"],
)  # fmt: skip
@pytest.mark.parametrize("command", [["runs"], ["worker", "detect"]], ids=" ".join)
def test_a_redis_url_that_cannot_be_used_is_status_2_and_named(call, monkeypatch, url, command):
    for name, value in HERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("POSEMILL_REDIS_URL", url)
    status, output, errors = call(*command)
    assert (status, output) == (2, "")
    assert is_a_sentence(status, errors), errors
    assert "POSEMILL_REDIS_URL" in errors
    assert "hidden-word" not in errors


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://h/", "redis://u:p%23w@h:6380/15", "rediss://:p@[::1]:1/2?ssl_cert_reqs=none"]
)
def test_a_redis_url_that_can_be_used_leads_ledger_and_celery_to_one_database(monkeypatch, url):
    monkeypatch.setenv("POSEMILL_REDIS_URL", url)
    found = load_settings().redis_url.get_secret_value()
    ledger = redis.Redis.from_url(found).connection_pool.connection_kwargs
    celery = make_app(found).connection_for_write()
    assert (celery.hostname, celery.port or 6379) == (ledger["host"], ledger.get("port", 6379))
    assert int((celery.virtual_host or "0").strip("/") or 0) == ledger.get("db", 0)
    assert celery.password == ledger.get("password")


def test_celery_s_own_variables_lead_it_nowhere_else(monkeypatch):
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
        monkeypatch.setenv(name, "redis://elsewhere:1/5")
    monkeypatch.setenv("CELERY_LOADER", "nothing:Nothing")
    app = make_app("redis://h/3")
    for connection in (app.connection_for_read(), app.connection_for_write(), app.connection()):
        assert (connection.hostname, connection.virtual_host) == ("h", "3")


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_ENDPOINT_URL", "127.0.0.1:9"), ("AWS_ENDPOINT_URL", "http://"), ("AWS_ENDPOINT_URL", "http://[::1"),
     ("AWS_ENDPOINT_URL", "ftp://h"), ("AWS_ENDPOINT_URL", "http://h:99999"), ("AWS_ENDPOINT_URL_S3", "no address"),
     ("AWS_REGION", "no region!"), ("AWS_DEFAULT_REGION", "é"), ("AWS_PROFILE", "missing"),
     ("AWS_CONFIG_FILE", "recipe.yaml"),
     ("AWS_MAX_ATTEMPTS", "many"), ("AWS_RETRY_MODE", "x"), ("AWS_REQUEST_CHECKSUM_CALCULATION", "x"),
     ("AWS_DEFAULTS_MODE", "x"), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_SESSION_TOKEN", "hidden-word\nx"),
     ("AWS_ACCESS_KEY_ID", "é"), ("HTTP_PROXY", "::::"), ("AWS_CA_BUNDLE", "/nowhere"), ("POSEMILL_WINDOW", "many"),
     ("POSEMILL_ALLOWED_HOSTS", "https://example.org/"), ("POSEMILL_DEVICE", "\udcff")],
)  # fmt: skip
def test_a_shell_that_sets_storage_wrongly_gets_a_sentence(call, monkeypatch, name, value):
    for each, right in HERE.items():
        monkeypatch.setenv(each, right)
    if name == "AWS_DEFAULT_REGION":
        monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv(name, value)
    status, _, errors = call("check", "run-1")
    assert is_a_sentence(status, errors), errors
    assert "hidden-word" not in errors


@pytest.mark.parametrize(
    "words",
    [["submit", f"{'a' * 300}.yaml"], ["submit", "\udcff.yaml"], ["submit", "recipe.yaml", "--set", "name=\udcff"],
     ["submit", "recipe.yaml", "--dry-run", "--set", f"sources={'b' * 5000}"], ["submit", "photos/a.png/x.yaml"],
     ["submit", "recipe.yaml", "--dry-run", "--set", "prompts=[\udcff]"], ["submit", "a\0b"],
     ["check", "\udcff"], ["check", "../..", "--export", "out"], ["export", "r", "\udcff/\udcff"],
     ["export", "r", "s3://[x"], ["check", "--export", "c" * 300], ["check", "--export", "photos/a.png"]],
    ids=ascii,
)  # fmt: skip
def test_words_that_nobody_can_mean_get_a_sentence(call, monkeypatch, words):
    for name, value in HERE.items():
        monkeypatch.setenv(name, value)
    status, _, errors = call(*words)
    assert status == 0 or is_a_sentence(status, errors) or errors.startswith("Usage: "), errors


@pytest.mark.parametrize("run_id", ["", ".", "..", "../x", "a/b", "*", "é", "a\nb", "a" * 101])
def test_what_no_run_can_be_called_is_refused_before_anybody_is_asked(run_id):
    with pytest.raises(BadInput, match="use up to 100 letters"):
        RunHandle(run_id, store=None, ledger=None)
    with pytest.raises(BadInput, match="use up to 100 letters"):
        read_run(None, run_id)


@pytest.mark.parametrize("dest", ["", "http://h/x", "S3://bucket/x", "file:///x", "gs://b"])
def test_an_export_goes_to_a_folder_or_s3_and_to_no_folder_named_like_another_address(dest):
    with pytest.raises(BadInput, match="an export cannot go to"):
        open_destination(dest)


@pytest.mark.parametrize("seconds", ["nan", "-1", "x"])
def test_a_timeout_that_would_never_pass_is_wrong_usage(call, seconds):
    status, _, errors = call("submit", "recipe.yaml", "--wait", "--timeout", seconds)
    assert (status, errors.startswith("Usage: ")) == (2, True)


@needs_root
@pytest.mark.parametrize("closed", ["recipe.yaml", "photos", "photos/a.png", "m"])
def test_files_that_may_not_be_read_get_a_sentence(folder, monkeypatch, closed):
    def ended() -> tuple[int, str]:
        sys.argv = ["posemill", "submit", "recipe.yaml", "--dry-run"]
        said: list[str] = []
        monkeypatch.setattr(click, "echo", lambda line="", **_: said.append(f"{line}\n"))
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0), "".join(said)
        return 0, ""

    for path in folder.parents:
        if path != Path("/tmp") and path.is_relative_to("/tmp"):
            path.chmod(0o755)
    ended()  # imports all that it needs
    (folder / closed).chmod(0)
    status, said = as_another_user(ended)
    assert status == 0 or is_a_sentence(status, said), said
    assert status != 0 or closed == "photos/a.png", "a dry run reads no picture"


@pytest.mark.parametrize(
    "shell", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}], ids=str
)
@pytest.mark.parametrize("words", [["doctor"], ["submit", "recipe.yaml", "--dry-run"]], ids=" ".join)
def test_a_terminal_that_lacks_letters_gets_their_codes(folder, shell, words):
    (folder / "recipe.yaml").write_text(RECIPE.replace("[p]", "[日本 é]"), encoding="utf-8")
    command = [sys.executable, "-m", "producer", *words]
    done = subprocess.run(command, env={**os.environ, **HERE, **shell}, capture_output=True, check=False)
    assert done.returncode == (3 if words == ["doctor"] else 0), done.stderr
    assert b"Traceback" not in done.stderr
    if words != ["doctor"]:
        assert rb"\u65e5\u672c \xe9" in done.stdout


@pytest.mark.parametrize(
    "words",
    [["submit", "recipe.yaml", "--dry-run"], ["doctor"], ["--help"], ["submit", "recipe.yaml", "--dry-run", "--json"]],
    ids=" ".join,
)
def test_an_output_that_is_closed_or_full_is_a_sentence_and_no_traceback(words):
    command = [sys.executable, "-m", "producer", *words]
    reading, writing = os.pipe()
    os.close(reading)
    closed = subprocess.run(
        command, env={**os.environ, **HERE}, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert is_a_sentence(closed.returncode, closed.stderr), closed.stderr
    none = subprocess.run(["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command], env={**os.environ, **HERE},
                          stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
    assert none.returncode == (3 if words == ["doctor"] else 0), none.stderr
    assert none.stderr == ""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, env={**os.environ, **HERE}, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert is_a_sentence(done.returncode, done.stderr), done.stderr


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a"), 2, "'/a': Permission denied"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 9), 2, "File name too long"),
        (OSError(errno.ENOSPC, "No space left on device"), 3, "No space left on device"),
        (BrokenPipeError(), 3, "closed"),
        (UnicodeEncodeError("utf-8", "a\udcffb", 1, 2, "surrogates not allowed"), 2, "Unicode"),
        (RecursionError(), 2, "nested"), (MemoryError(), 3, "memory"), (ValueError("embedded null byte"), 2, "null"),
        (redis.ConnectionError("gone"), 3, "Redis"), (KeyError("x"), 3, "did not foresee, KeyError: 'x'"),
        (TypeError("a\nb\udcff"), 3, "a b"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)  # fmt: skip
def test_every_error_has_a_sentence_and_a_status(call, monkeypatch, error, status, says):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli.posemill, "main", fail)
    found, _, errors = call("runs")
    assert found == status
    assert is_a_sentence(found, errors), errors
    assert says in errors


def test_where_an_unforeseen_error_was_raised_is_told_to_those_who_ask(call, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(cli.posemill, "main", fail)
    assert "Traceback" in call("--traceback", "runs")[2]


SOME_VALUES = st.sampled_from(
    ["", "0", "-1", "nan", "x", "redis://h/0", "redis://h/0?a=b", "rediss://:p@h:1/2", "unix:///x", "s3://b/p",
     "s3://b c",
     "http://h", "127.0.0.1:9", "h", "a,b", ".h", "auto", "1e999", "true"]
)  # fmt: skip
ANY_TEXT = st.binary(max_size=20).map(lambda content: os.fsdecode(content.replace(b"\0", b"")))
OURS = [f"POSEMILL_{name.upper()}" for name in Settings.model_fields]
BOTO3 = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE",
         "AWS_MAX_ATTEMPTS",
         "AWS_RETRY_MODE", "AWS_DEFAULTS_MODE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
         "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "AWS_USE_FIPS_ENDPOINT", "HTTP_PROXY",
         "no_proxy",
         "AWS_STS_REGIONAL_ENDPOINTS", "AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS"]  # fmt: skip


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e300", "9" * 40, "0", "-1"])
@pytest.mark.parametrize("name", ["LEASE_SECONDS", "TICK_SECONDS", "WINDOW", "MAX_ATTEMPTS", "WORKER_THREADS"])
def test_a_setting_of_no_end_is_refused_where_redis_would_choke_on_it(monkeypatch, name, number):
    monkeypatch.setenv(f"POSEMILL_{name}", number)
    with pytest.raises(BadInput, match=f"POSEMILL_{name}"):
        load_settings()


@given(st.dictionaries(st.sampled_from(OURS), SOME_VALUES | ANY_TEXT, max_size=6))
def test_whatever_our_variables_hold_settings_are_right_or_refused(variables):
    with pytest.MonkeyPatch.context() as shell:
        for name, value in variables.items():
            shell.setenv(name, value)
        try:
            found = load_settings()
        except PosemillError as error:
            assert "\n" not in str(error)  # noqa: PT017
            return
        url = found.redis_url.get_secret_value()
        redis.Redis.from_url(url).connection_pool.make_connection()
        make_app(url).connection_for_write()


REDIS_URLS = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(["redis://", "rediss://", "REDIS://", "redis:/", "unix://", "redis+sentinel://", ""]),
    st.sampled_from(["", ":p@", "u:p@", ":p@ss@", "%40:%@", "u@", ":@", "[@"]),
    st.sampled_from(["h", "127.0.0.1", "[::1]", "::1", "h,g", "é", "", "[v1.x]", "H.", "%68", "[::1%eth0]"]),
    st.sampled_from(["", ":0", ":6379", ":", ":99999", ":-1", ":x", ":٣", ":1:2"]),
    st.sampled_from(["", "/", "/0", "/15", "/x", "/0/1", "/-1", "//0", "/%30", "/0;x"]),
    st.sampled_from(["", "?", "?db=1", "?ssl_cert_reqs=none", "?ssl_cert_reqs=", "?ssl_ca_certs=%00", "?a", "#", "&"]),
)


@property_settings(max_examples=300, deadline=None)
@given(REDIS_URLS | ANY_TEXT.map("redis://".__add__))
def test_any_redis_url_leads_ledger_and_celery_to_one_place_or_is_refused(url):
    try:
        redis_address(url)
    except ValueError:
        return
    ledger = redis.Redis.from_url(url).connection_pool.make_connection()
    assert isinstance(ledger, redis.Connection)
    celery = make_app(url).connection_for_write()
    assert (celery.hostname, celery.port or 6379) == (ledger.host, ledger.port)
    assert int((celery.virtual_host or "0").strip("/") or 0) == ledger.db


def test_doctor_says_whether_heic_is_read_and_how_it_would_be(monkeypatch):
    read = next(finding for finding in examine(Settings) if finding.what == "HEIC")
    assert (read.verdict, "pillow-heif" in read.found) == ("ok", True)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    missing = next(finding for finding in examine(Settings) if finding.what == "HEIC")
    assert (missing.verdict, "posemill[heic]" in missing.advice) == ("note", True)
    assert "report it" not in missing.found


@property_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(BOTO3), SOME_VALUES | ANY_TEXT, min_size=1, max_size=4))
def test_whatever_boto3_s_variables_hold_storage_is_opened_or_refused(variables):
    with pytest.MonkeyPatch.context() as shell:
        for name, value in variables.items():
            shell.setenv(name, value)
        try:
            open_store("s3://bucket/prefix")
        except ServiceError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_doctor_survives_what_it_is_there_to_find(monkeypatch):
    def raise_it(error: Exception) -> Callable[[], None]:
        def fail(*_: object) -> None:
            raise error

        return fail

    monkeypatch.setattr("producer.local.doctor.version", raise_it(TypeError("damaged metadata")))
    monkeypatch.setattr("producer.local.doctor._device", raise_it(OSError("libcudart.so is missing")))
    monkeypatch.setattr("producer.local.doctor.open_ledger", raise_it(redis.ResponseError("OOM")))
    monkeypatch.setattr("producer.local.doctor.open_store", raise_it(RunFault("no such bucket")))
    findings = {finding.what: finding for finding in examine(Settings)}
    assert {what for what, finding in findings.items() if finding.verdict == "wrong"} >= {
        "worker packages", "local packages", "device", "Redis", "storage"
    }  # fmt: skip
    assert all("\n" not in finding.found for finding in findings.values())


@pytest.mark.parametrize("url", ["h:1", "unix:///x"])
def test_doctor_says_which_setting_is_wrong(call, monkeypatch, url):
    monkeypatch.setenv("POSEMILL_REDIS_URL", url)
    status, output, errors = call("doctor", "--json")
    assert (status, errors) == (3, "")
    wrong = [finding for finding in msgspec.json.decode(output) if finding["verdict"] == "wrong"]
    assert [finding["what"] for finding in wrong] == ["settings"]
    assert "POSEMILL_REDIS_URL" in wrong[0]["found"]


def test_an_error_s_words_fit_on_a_line_and_hold_no_half_letters():
    assert last_words(TypeError("a\n\udcff")).sentence.isprintable()
