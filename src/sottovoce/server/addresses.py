"""Which addresses a server may call for somebody else: public ones that are not its own. Knows no URL, no protocol."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

# Called public by the registry, and yet within: what hosts are told about themselves, and what is carried elsewhere
INNER_4 = tuple(
    IPv4Network(net)
    for net in (
        "168.63.129.16/32",  # Azure's host, which tells machines about themselves
        "192.0.0.0/24",  # protocol assignments; Oracle's host
        "192.88.99.0/24",  # relays of 6to4
    )
)
INNER_6 = tuple(IPv6Network(net) for net in ("fec0::/10", "100::/64", "2001::/23", "2001:db8::/32", "5f00::/16"))
NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
COMPATIBLE = IPv6Network("::/96")


def is_public(address: Address) -> bool:
    """Whether an address is anybody's: not private, nor of this machine, this link, a group, reserved, or wrapped."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None or any(address in net for net in INNER_6):
            return False
        if any(address in net for net in (*NAT64, COMPATIBLE)):
            return False
        if address.ipv4_mapped or address.sixtofour or address.teredo:
            return False
    elif any(address in net for net in INNER_4):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def is_own(address: Address) -> bool:
    """Whether it is an address of this machine, where services listen that are for its neighbours only."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def of(host: str, port: int) -> tuple[Address, ...]:
    """The addresses of a host, whatever way it is spelled, in the order to try them. Blocks. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))
