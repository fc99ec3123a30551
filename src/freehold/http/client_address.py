"""Where a request comes from, as far as it can be believed."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from litestar.types import Scope

from freehold.http.headers import header


class ClientAddresses:
    """Reads `X-Forwarded-For`, but only what proxies of our own have written into it."""

    def __init__(self, trusted_proxies: Iterable[str]) -> None:
        """Addresses or networks (`10.0.0.0/8`), as the settings have checked them."""
        self._networks = [ip_network(text, strict=False) for text in trusted_proxies]

    def of(self, scope: Scope) -> str:
        """The client's address, `""` when no proxy of ours has told it.

        Read from the right: what stands left of the first stranger was written by that stranger.
        """
        peer = scope.get("client")
        if not self._networks or peer is None or not self._is_ours(_parse(peer[0])):
            return ""
        forwarded = header(scope, b"x-forwarded-for") or ""
        for hop in reversed(forwarded.split(",")):
            address = _parse(hop.strip())
            if address is None:
                return ""
            if not self._is_ours(address):
                return str(address)
        return ""

    def accountable(self, scope: Scope) -> str:
        """Whose doing the request counts as: the client's address, else that of whoever connected to us.

        Of IPv6 addresses the first 64 bits, for anybody has as many of the rest as they like.
        """
        peer = scope.get("client")
        return _network(self.of(scope) or (peer[0] if peer else ""))

    def _is_ours(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


@lru_cache(4096)
def _network(text: str) -> str:
    address = _parse(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address) if address else text
