"""What the shell says leads nothing of ours to another server."""

import os

from hypothesis import given
from hypothesis import strategies as st

from producer.local.sealed_environment import LOOPBACK_HOSTS, sealed

SERVICES = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "POSEMILL_STORE": "s3://posemill"}
NAMES = st.sampled_from(["PATH", "HF_HOME", "HTTP_PROXY", "all_proxy", "POSEMILL_DEVICE", "PYTHONPATH"])
FOREIGN_NAMES = st.from_regex(r"(AWS|CELERY|aws)_[A-Z0-9_]{1,20}", fullmatch=True)


@given(st.dictionaries(NAMES | FOREIGN_NAMES, st.text()))
def test_no_variable_of_boto3_or_celery_passes_and_all_others_do(environment):
    made = sealed(environment, SERVICES)
    others = {name: value for name, value in environment.items() if not name.upper().startswith(("AWS_", "CELERY_"))}
    assert others.items() <= made.items()
    foreign = {name for name in made if name.upper().startswith(("AWS_", "CELERY_"))}
    allowed = {"AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_EC2_METADATA_DISABLED"}
    assert foreign == allowed
    assert made["AWS_CONFIG_FILE"] == made["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    assert SERVICES.items() <= made.items()


@given(st.dictionaries(st.sampled_from(["NO_PROXY", "no_proxy"]), st.sampled_from(["", "a.org", "a.org, b.org", ",,"])))
def test_no_proxy_stands_before_this_machine_and_those_of_the_shell_stay(environment):
    made = sealed(environment, {})
    assert made["NO_PROXY"] == made["no_proxy"]
    hosts = made["NO_PROXY"].split(",")
    named = {host.strip() for value in environment.values() for host in value.split(",") if host.strip()}
    assert set(hosts) == named | set(LOOPBACK_HOSTS)


def test_a_shell_that_wants_no_proxy_at_all_keeps_that():
    assert sealed({"NO_PROXY": "*"}, {})["no_proxy"] == "*"


def test_warnings_that_the_shell_makes_errors_do_not_end_the_workers():
    assert "PYTHONWARNINGS" not in sealed({"PYTHONWARNINGS": "error", "PATH": "/bin"}, SERVICES)


def test_a_file_that_holds_the_address_of_another_redis_is_not_read():
    assert "POSEMILL_REDIS_URL_FILE" not in sealed({"POSEMILL_REDIS_URL_FILE": "/run/secrets/url"}, SERVICES)
