"""Objects read by obstore, for a fraction of boto3's processor time: what exports and deep checks do by the million.

boto3 remains the authority: it signs with its credentials, and it reads whatever is out of the ordinary and says what
is wrong with it.
"""

import logging
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from obstore.store import S3Store

log = logging.getLogger(__name__)

PLAIN = re.compile(r"([\w-][\w.-]*/)*[\w-][\w.-]*", re.ASCII)  # keys that no library writes otherwise
MOST_FAILURES = 3  # in a row; then this server, proxy or certificate is not for obstore
AMAZON = ".amazonaws.com"


def open_quick_reads(session: Any, *, endpoint_url: str, region: str) -> "QuickReads | None":
    """Reads from the server of a boto3 session; None where obstore is not installed."""
    if find_spec("obstore") is None:
        return None
    return QuickReads(session, endpoint_url=endpoint_url, region=region)


class QuickReads:
    """Whole objects of one server; safe between threads."""

    def __init__(self, session: Any, *, endpoint_url: str, region: str) -> None:
        self._session = session
        self._endpoint_url = endpoint_url
        self._region = region
        self._stores: dict[str, S3Store] = {}
        self._failures = 0
        self._is_plain = _is_plain(session, endpoint_url)

    def get(self, bucket: str, key: str) -> bytes | None:
        """The object, or None when it is for boto3 to read."""
        if self._failures >= MOST_FAILURES or not PLAIN.fullmatch(key) or not self._is_plain:
            return None
        try:
            content = self._store(bucket).get(key).bytes().to_bytes()
        except FileNotFoundError:
            return None
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it is, a panic in Rust included, boto3 meets it again
            self._failures += 1
            log.info("boto3 reads %s, for obstore cannot: %s", key, error)
            return None
        self._failures = 0
        return content

    def _store(self, bucket: str) -> "S3Store":
        if bucket not in self._stores:
            self._stores[bucket] = self._open(bucket)
        return self._stores[bucket]

    def _open(self, bucket: str) -> "S3Store":
        from obstore.auth.boto3 import Boto3CredentialProvider
        from obstore.store import S3Store

        is_amazon = (urlsplit(self._endpoint_url).hostname or "").endswith(AMAZON)
        return S3Store(
            bucket,
            endpoint=None if is_amazon else self._endpoint_url,
            region=self._region,
            virtual_hosted_style_request=is_amazon,  # as boto3: buckets of other servers stand in the path
            credential_provider=Boto3CredentialProvider(self._session),
            client_options={
                "allow_http": self._endpoint_url.startswith("http://"),
                "connect_timeout": "5s",
                "timeout": "30s",
            },
            retry_config={"max_retries": 0},
        )


def _is_plain(session: Any, endpoint_url: str) -> bool:
    """Whether address and credentials can be sent as they are; where not, obstore panics and boto3 says why."""
    try:
        port = urlsplit(endpoint_url).port
        credentials = session.get_credentials()
    except Exception:  # noqa: BLE001  # boto3 meets it again
        return False
    values = (credentials.access_key, credentials.secret_key, credentials.token or "") if credentials else ()
    return port != 0 and all(value.isascii() and value.isprintable() for value in (*values, endpoint_url))
