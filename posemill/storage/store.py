"""Object storage: the only module that talks to S3.

`Store` is the seam; `S3Store` is boto3 behind it. Keys are relative to the prefix of POSEMILL_STORE.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import boto3
import msgspec
from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from posemill.contract.identity import sha256
from posemill.contract.records import StoredObject
from posemill.errors import BadInput, ChangedObject, NotFound, ServiceError, TransientError
from posemill.storage.obstore_reads import QuickReads, open_quick_reads
from posemill.storage.s3_errors import NoSuchBucket, PreconditionFailed, WriteConflict, in_a_line, translated, unusable

CONFLICT_RETRIES = 8  # of a conditional write that meets another one in flight


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An object as a listing shows it."""

    key: str
    size: int
    etag: str


class Store(Protocol):
    """Object storage below one prefix."""

    url: str

    def put(self, key: str, content: bytes, *, content_type: str = ...) -> StoredObject:
        """Write an object, whatever stands there. Raises TransientError and RunFault."""

    def put_if_absent(self, key: str, content: bytes, *, content_type: str = ...) -> tuple[StoredObject, bool]:
        """Write an object where none stands; gives the one that stands now, and whether it is this one."""

    def get(self, key: str) -> bytes:
        """An object's bytes. Raises NotFound."""

    def head(self, key: str) -> StoredObject | None:
        """An object's size and ETag; None where there is none."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key begins so, in the order of their keys."""

    def folders(self, prefix: str) -> Iterator[str]:
        """The names right below a prefix that have objects below them."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""

    def put_file(self, key: str, path: Path) -> None:
        """Write a local file as an object, in parts where it is large."""

    def get_file(self, key: str, path: Path) -> None:
        """Write an object to a local file. Raises NotFound."""

    def get_uri(self, uri: str) -> bytes:
        """The bytes of an object in any bucket, named `s3://bucket/key`. Raises NotFound."""

    def list_uri(self, uri: str) -> Iterator[ObjectInfo]:
        """All objects below `s3://bucket/prefix`, in the order of their keys."""


class S3Store:
    """A bucket and a prefix of an S3-compatible server."""

    def __init__(self, client: Any, bucket: str, prefix: str, *, quick_reads: QuickReads | None = None) -> None:
        self._client = client
        self._quick_reads = quick_reads
        self._bucket = bucket
        self._prefix = prefix
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")

    def put(self, key: str, content: bytes, *, content_type: str = "application/octet-stream") -> StoredObject:
        """Write an object, whatever stands there. Raises TransientError and RunFault."""
        return self._put(key, content, content_type)

    def put_if_absent(
        self, key: str, content: bytes, *, content_type: str = "application/octet-stream"
    ) -> tuple[StoredObject, bool]:
        """Write unless the key exists. Gives what is stored now and whether this call stored it."""
        for attempt in range(CONFLICT_RETRIES):
            try:
                return self._put(key, content, content_type, IfNoneMatch="*"), True
            except PreconditionFailed:
                existing = self.head(key)
                if existing:
                    return existing, False
            except WriteConflict:
                time.sleep(0.05 * 2**attempt)
        raise TransientError(f"{self.url}/{key}: conditional writes kept meeting others in flight; try again")

    def get(self, key: str) -> bytes:
        """An object's bytes. Raises NotFound."""
        return self._get(self._bucket, self._prefix + key)

    def get_uri(self, uri: str) -> bytes:
        """The bytes of an object in any bucket, named `s3://bucket/key`. Raises NotFound."""
        bucket, key = split_s3_uri(uri)
        try:
            return self._get(bucket, key)
        except NoSuchBucket as error:
            if bucket == self._bucket:
                raise
            raise NotFound(f"{uri}: no such bucket") from error  # one row's mistake, not the run's

    def head(self, key: str) -> StoredObject | None:
        """An object's size and ETag; None where there is none."""
        try:
            reply = self._call("head_object", Bucket=self._bucket, Key=self._prefix + key)
        except NotFound:
            return None
        return StoredObject(
            key=key,
            sha256=reply.get("Metadata", {}).get("sha256", ""),
            etag=reply["ETag"].strip('"'),
            size=reply["ContentLength"],
        )

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key begins so, in the order of their keys, a page of a thousand at a time."""
        start = len(self._prefix)
        for info in self._list(self._bucket, self._prefix + prefix):
            yield ObjectInfo(key=info.key[start:], size=info.size, etag=info.etag)

    def folders(self, prefix: str) -> Iterator[str]:
        """The first level of names below a prefix that ends in a slash."""
        start = len(self._prefix)
        for page in self._pages(self._bucket, self._prefix + prefix, Delimiter="/"):
            yield from (entry["Prefix"][start:] for entry in page.get("CommonPrefixes", []))

    def list_uri(self, uri: str) -> Iterator[ObjectInfo]:
        """Objects below an s3:// prefix of any bucket; keys are whole URIs."""
        bucket, prefix = split_s3_uri(uri)
        for info in self._list(bucket, prefix):
            yield ObjectInfo(key=f"s3://{bucket}/{info.key}", size=info.size, etag=info.etag)

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        self._call("delete_object", Bucket=self._bucket, Key=self._prefix + key)

    def put_file(self, key: str, path: Path) -> None:
        """Upload a file of any size, in parts; it is never in memory as a whole."""
        self._call("upload_file", Filename=str(path), Bucket=self._bucket, Key=self._prefix + key)

    def get_file(self, key: str, path: Path) -> None:
        """Download into a file. Raises NotFound."""
        self._call("download_file", Filename=str(path), Bucket=self._bucket, Key=self._prefix + key)

    def _put(self, key: str, content: bytes, content_type: str, **condition: str) -> StoredObject:
        content_sha256 = sha256(content)
        reply = self._call(
            "put_object",
            Bucket=self._bucket,
            Key=self._prefix + key,
            Body=content,
            ContentType=content_type,
            Metadata={"sha256": content_sha256},
            **condition,
        )
        return StoredObject(key=key, sha256=content_sha256, etag=reply["ETag"].strip('"'), size=len(content))

    def _get(self, bucket: str, key: str) -> bytes:
        content = self._quick_reads.get(bucket, key) if self._quick_reads else None
        return self._get_with_boto3(bucket, key) if content is None else content

    def _get_with_boto3(self, bucket: str, key: str) -> bytes:
        reply = self._call("get_object", Bucket=bucket, Key=key)
        try:
            content: bytes = reply["Body"].read()
        except Exception as error:  # botocore, urllib3 and socket errors share no root
            raise TransientError(f"s3://{bucket}/{key}: the answer broke off ({error}); try again") from error
        return content

    def _list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        for page in self._pages(bucket, prefix):
            for entry in page.get("Contents", []):
                yield ObjectInfo(key=entry["Key"], size=entry["Size"], etag=entry["ETag"].strip('"'))

    def _pages(self, bucket: str, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Bucket=bucket, Prefix=prefix, **options, **token)
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(**arguments)
        except S3UploadFailedError as error:  # hides the answer that it is about
            place = f"s3://{arguments['Bucket']}/{arguments['Key']}"
            cause = error.__context__
            known = cause if isinstance(cause, (ClientError, BotoCoreError)) else None
            raise translated(known, place) if known else TransientError(f"{place}: {error}") from error
        except (ClientError, BotoCoreError) as error:
            place = f"s3://{arguments['Bucket']}/{arguments.get('Key', arguments.get('Prefix', ''))}"
            raise translated(error, place) from error
        except ValueError as error:  # a key that is no Unicode, for one
            raise BadInput(f"storage takes no such address ({in_a_line(error)}); mend it") from error


def split_s3_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3:// address."""
    try:
        parts = urlsplit(uri, allow_fragments=False)
    except ValueError as error:
        raise BadInput(f"{uri!a} is not an address ({error}); write s3://bucket/prefix") from error
    if parts.scheme != "s3" or not parts.netloc:
        raise BadInput(f"{uri!a} is not an s3:// address; write s3://bucket/prefix")
    return parts.netloc, parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")


def open_store(
    url: str,
    *,
    endpoint_url: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    region: str | None = None,
    connections: int = 32,
    many_reads: bool = False,
) -> S3Store:
    """A store for s3://bucket/prefix; what is not given, boto3 reads from its own environment variables.

    `many_reads` reads with obstore where it is installed.
    """
    if not url:
        raise ServiceError("no storage: set POSEMILL_STORE to s3://bucket/prefix, or run `posemill up` here first")
    bucket, prefix = split_s3_uri(url)
    config = Config(
        retries={"mode": "standard", "max_attempts": 4},
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=connections,
    )
    try:
        session = boto3.session.Session(  # the default one would keep the first credentials it has seen
            aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=region
        )
        client = session.client("s3", endpoint_url=endpoint_url, config=config)
    except Exception as error:  # whatever a variable, a file or a profile makes boto3 raise
        raise unusable(error) from error
    where = client.meta
    quick_reads = (
        open_quick_reads(session, endpoint_url=where.endpoint_url, region=where.region_name) if many_reads else None
    )
    return S3Store(client, bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else "", quick_reads=quick_reads)


def require_conditional_writes(store: Store) -> None:
    """Refuse a server that ignores If-None-Match: on it two workers could both win."""
    key = "probe/conditional-write"
    store.put(key, b"first")
    _, created = store.put_if_absent(key, b"second")
    if created:
        raise ServiceError(f"{store.url}: the server ignores If-None-Match; use one that honours it (see docs)")


def get_unchanged(store: Store, key: str, expected_sha256: str) -> bytes:
    """An object's content, which must have that digest; read twice before it is taken for changed."""
    for _ in range(2):
        content = store.get(key)
        if sha256(content) == expected_sha256:
            return content
    raise ChangedObject(f"{store.url}/{key} is not what was written there; put the right object back and retry")


def get_many(store: Store, keys: list[str], *, threads: int = 8) -> list[bytes]:
    """Contents of several keys, in order, fetched side by side."""
    if len(keys) < 2:
        return [store.get(key) for key in keys]
    with ThreadPoolExecutor(min(threads, len(keys))) as pool:
        return list(pool.map(store.get, keys))
