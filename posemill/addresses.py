"""Where Redis, storage and the web are, as settings name them: judged before anybody is asked there."""

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, parse_qsl, urlsplit

# What redis-py and Celery's kombu both understand, and in the same way: of everything else one of them makes nothing,
# or another database.
REDIS_OPTIONS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
CERTIFICATE_RULES = ("none", "optional", "required")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{1,254}", re.ASCII)
REDIS_HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?")  # a name, or an address of IPv6
HOST = re.compile(r"\.?[^\s/:@?#\\.]+(\.[^\s/:@?#\\.]+)*\.?")


def redis_address(url: str) -> str:
    """The URL itself. Raises ValueError, which never repeats the password, for one that cannot be used."""
    parts = _split(url)
    if not url.startswith(("redis://", "rediss://")):  # in this very case: redis-py knows no other
        raise ValueError("must begin with redis:// or rediss:// (a Unix socket cannot be used)")
    if not parts.hostname or not REDIS_HOST.fullmatch(parts.hostname):
        raise ValueError("has no host that can be reached; write redis://:PASSWORD@HOST:6379/0")
    if parts.port == 0:
        raise ValueError("has port 0, on which nobody answers; write 6379")
    if parts.fragment or "#" in url:
        raise ValueError("holds a #; write it as %23 in a password")
    if not re.fullmatch(r"/?|/[0-9]{1,5}", parts.path, re.ASCII):
        raise ValueError("names no database; end it with a number, such as /0")
    _check_options(parts)
    return url


def store_address(url: str) -> str:
    """The URL itself, or nothing. Raises ValueError for one that is not s3://bucket or s3://bucket/prefix."""
    if not url:
        return url
    parts = _split(url)
    if not url.startswith("s3://") or not parts.netloc:
        raise ValueError(f"{_shown(url)} is not an s3:// address; write s3://bucket/prefix")
    if not BUCKET.fullmatch(parts.netloc):
        raise ValueError(f"{_shown(url)}: no bucket can be called {_shown(parts.netloc)}")
    return url


def allowed_host(host: str) -> str:
    """A host's name. Raises ValueError for what is none, such as a URL."""
    if not HOST.fullmatch(host):
        raise ValueError(f"{_shown(host)} is not a host; write example.org, or .example.org for its subdomains")
    return host


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # read only to be judged
        url.encode()
    except ValueError as error:  # it may repeat the address, and with it a password
        raise ValueError("is not a URL") from error
    if any(ord(letter) < 33 for letter in url):
        raise ValueError("holds blanks or control characters")
    return parts


def _check_options(parts: SplitResult) -> None:
    options = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(options)
    if len(given) < len(options):
        raise ValueError("has an option twice")
    if unknown := sorted(set(given) - set(REDIS_OPTIONS)):
        raise ValueError(f"has options that cannot be used: {_listed(unknown)}; there are {', '.join(REDIS_OPTIONS)}")
    if given and parts.scheme != "rediss":
        raise ValueError("has options for TLS; begin it with rediss://")
    if (rule := given.get("ssl_cert_reqs")) is not None and rule not in CERTIFICATE_RULES:
        raise ValueError(f"ssl_cert_reqs is one of {', '.join(CERTIFICATE_RULES)}")
    if (checked := given.get("ssl_check_hostname")) is not None and checked not in ("true", "false"):
        raise ValueError("ssl_check_hostname is true or false")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(_shown(name) for name in names)


def _shown(text: str) -> str:
    """A text that any terminal can print, and not more of it than helps."""
    return ascii(text if len(text) <= 100 else f"{text[:100]}…")
