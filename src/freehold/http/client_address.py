"""The address that a request comes from, as far as it can be trusted."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from litestar.types import Scope

Address = IPv4Address | IPv6Address

_BLANKS = " \t"
_MAX_HOPS = 32  # nobody has this many proxies of their own in a row
_V4_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}")
_IN_BRACKETS = re.compile(r"\[([^\[\]]+)\](?::[0-9]{1,5})?")
_MAPPED_BITS = 96
_LONGEST = len("[0000:0000:0000:0000:0000:0000:255.255.255.255%123456789012345]:65535")


class ClientAddresses:
    """Reads `X-Forwarded-For`, but only what our own proxies wrote."""

    def __init__(self, trusted_proxies: Iterable[str]) -> None:
        """Take addresses or networks (`10.0.0.0/8`) that the settings have validated."""
        self._networks = [_network(text) for text in trusted_proxies]

    def of(self, scope: Scope) -> str:
        """The client's address in normal form; `""` if no proxy of ours reported it.

        All lines of the header count as one list, read from the right. What is left of the first address that is not
        ours was written by that client; what is left of something that is not an address cannot be attributed at all.
        """
        if not self._networks:
            return ""
        peer = scope.get("client")
        if peer is None or not self._is_ours(_parse(peer[0])):
            return ""
        for hop in _hops(scope):
            address = _parse(hop)
            if address is None:
                return ""
            if not self._is_ours(address):
                return str(address)
        return ""

    def seen(self, scope: Scope) -> str:
        """The client's address, else the peer's, in normal form."""
        peer = _peer(scope)
        return self.of(scope) or str(_parse(peer) or peer)

    def accountable(self, scope: Scope) -> str:
        """The client's address, else the peer's, for counting: IPv6 by its /64, as a client has all of that."""
        return network_of(self.of(scope) or _peer(scope))

    def is_proxy(self, host: str) -> bool:
        """Whether this host is one of our proxies, whose connections carry anyone's requests."""
        return bool(self._networks) and self._is_ours(_parse(host))

    def _is_ours(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


@lru_cache(4096)
def network_of(host: str) -> str:
    """What an address is counted by: IPv4 (also IPv4-mapped IPv6) by itself, IPv6 by its /64."""
    address = _parse(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address or host)


def _network(text: str) -> IPv4Network | IPv6Network:
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _peer(scope: Scope) -> str:
    peer = scope.get("client")
    return peer[0] if peer else ""


def _hops(scope: Scope) -> Iterable[str]:
    """The hops from nearest to farthest. Empty list elements do not count (RFC 9110, 5.6.1)."""
    lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = b",".join(lines).decode("latin-1").rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]
    return (hop for hop in reversed(hops) if hop.strip(_BLANKS))


@lru_cache(4096)
def _parse(text: str) -> Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:5`.

    IPv4-mapped IPv6 becomes IPv4. A zone (`fe80::1%eth0`) is dropped: it only names one of a proxy's own interfaces.
    """
    text = text.strip(_BLANKS)
    if len(text) > _LONGEST:
        return None
    if found := _V4_WITH_PORT.fullmatch(text) or _IN_BRACKETS.fullmatch(text):
        is_bracketed = text.startswith("[")
        text = found[1]
        if is_bracketed and ":" not in text:
            return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))
