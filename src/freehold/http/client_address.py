"""Where a request comes from, as far as it can be believed."""

from collections.abc import Iterable
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

    def _is_ours(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
