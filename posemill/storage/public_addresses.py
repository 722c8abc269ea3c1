"""Which addresses are on the public internet, and which lead inside a network, whatever their form."""

import ipaddress
from collections.abc import Iterator

NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments: of a provider's own machines
        "192.88.99.0/24",  # relays of 6to4
        "3fff::/20",  # documentation
    )
)  # beside those that Python's ipaddress knows
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# IPv6 addresses that carry an IPv4 address, to which a gateway hands the connection on, and the bits below it.
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64 (RFC 6052); its local forms lie outside global unicast
SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
INTERFACES_OF_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # the half of the interface id above the IPv4 address (RFC 5214)


def is_public(address: str) -> bool:
    """Raises ValueError for what is no address."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return _is_global(parsed)
    if parsed.ipv4_mapped is not None:
        return _is_global(parsed.ipv4_mapped)
    if parsed in TRANSLATED:
        return _is_global(ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF))
    return parsed in GLOBAL_UNICAST and _is_global(parsed) and all(map(_is_global, _inner(parsed)))


def _inner(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that a tunnel would lead to. Teredo's addresses count as private in Python."""
    if address in SIX_TO_FOUR:
        yield ipaddress.IPv4Address(int(address) >> 80 & 0xFFFF_FFFF)
    if int(address) >> 32 & 0xFFFF_FFFF in INTERFACES_OF_ISATAP:
        yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def _is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    special = address.is_multicast or address.is_reserved or any(address in network for network in NETWORKS)
    return address.is_global and not special
