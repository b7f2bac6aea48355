"""server/addresses.py: what may be called for somebody else."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from sottovoce.server import addresses

INNER = (
    *("127.0.0.1", "127.8.9.10", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "203.0.113.9"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "fe80::1", "fe80::1%lo", "fec0::1", "fc00::1"),
    *("fd00:ec2::254", "ff02::1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1"),
)


@pytest.mark.parametrize("address", INNER)
def test_what_is_within_is_not_public(address: str) -> None:
    assert not addresses.is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001::1"]
)
def test_what_is_anybodys_is_public(address: str) -> None:
    assert addresses.is_public(ip_address(address))


def test_this_machine_knows_its_own_addresses() -> None:
    assert addresses.is_own(ip_address("127.0.0.1"))
    assert not addresses.is_own(ip_address("8.8.8.8"))


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "127.0.0.1.", "localhost"]
)
def test_however_an_address_is_spelled_it_is_looked_at_as_it_is_called(host: str) -> None:
    try:
        found = addresses.of(host, 80)
    except OSError:
        return  # a system that does not know the spelling cannot call it either
    assert found and not any(addresses.is_public(address) for address in found)
