"""Calls to identity providers: limited in time and size, without redirects, and never into our own network.

A provider's documents contain the URLs that are called next. Those that an operator configured may be anywhere, but
those from a document must be public: otherwise someone who controls a provider could make us call internal hosts.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from freehold.auth.social.errors import IdentityProviderUnavailable
from freehold.tls import public_tls

_TIMEOUT_S = 10.0
_MAX_BYTES = 512 * 1024

Address = IPv4Address | IPv6Address
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Reply:
    """A provider's response: its status, and its JSON (None if it is not JSON)."""

    status: int
    content: Any


@dataclass(frozen=True, slots=True)
class Outbound:
    """Fetches JSON from providers. `timeout_s` limits a whole call, however slowly its bytes arrive."""

    http: httpx.AsyncClient
    timeout_s: float = _TIMEOUT_S
    max_bytes: int = _MAX_BYTES

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Raises `IdentityProviderUnavailable` if there is no response within the limits, or a 5xx."""
        return await self._call("GET", url, headers or {}, None)

    async def post(self, url: str, headers: Mapping[str, str], content: str) -> Reply:
        """Raises `IdentityProviderUnavailable` if there is no response within the limits, or a 5xx."""
        return await self._call("POST", url, headers, content)

    async def _call(self, method: str, url: str, headers: Mapping[str, str], content: str | None) -> Reply:
        host = urlsplit(url).hostname
        # `identity`, because a few compressed bytes can expand to any size.
        sent = {"accept": "application/json", **headers, "accept-encoding": "identity"}
        try:
            async with asyncio.timeout(self.timeout_s):
                request = self.http.build_request(method, url, headers=sent, content=content)
                reply = await self.http.send(request, stream=True, follow_redirects=False)
                try:
                    body = await self._read(reply)
                finally:
                    await reply.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise IdentityProviderUnavailable(f"`{host}` does not answer; try again in a moment") from error
        if reply.status_code >= 500:
            raise IdentityProviderUnavailable(f"`{host}` answered {reply.status_code}; try again in a moment")
        return Reply(reply.status_code, _json(body))

    async def _read(self, reply: httpx.Response) -> bytes:
        if reply.headers.get("content-encoding", "identity") != "identity":
            raise IdentityProviderUnavailable("a provider compressed its answer though it was asked not to")
        body = bytearray()
        async for chunk in reply.aiter_raw():
            body += chunk
            if len(body) > self.max_bytes:
                raise IdentityProviderUnavailable(f"a provider's answer is over {self.max_bytes} bytes")
        return bytes(body)


class GuardedTransport(httpx.AsyncBaseTransport):
    """Resolves each host itself and connects to the address that it has checked.

    `trusted` are origins that an operator configured, as `https://host:port`: those may be internal.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, trusted: Collection[str]) -> None:
        self._inner = inner
        self._trusted = {origin_of(url) for url in trusted}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        is_trusted = origin_of(str(url)) in self._trusted
        if url.scheme != "https" and not is_trusted:
            raise httpx.UnsupportedProtocol("a provider names an address without TLS")
        addresses = await _look_up(url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80))
        if not is_trusted and not all(is_public(address) for address in addresses):
            raise httpx.ConnectError("a provider names an address that is not public")
        # The certificate is for the name, not the address.
        request.extensions["sni_hostname"] = url.raw_host.decode("ascii")
        for address in addresses[:-1]:
            try:
                return await self._send(request, url, address)
            except httpx.ConnectError:
                continue
        return await self._send(request, url, addresses[-1])

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _send(self, request: httpx.Request, url: httpx.URL, address: Address) -> httpx.Response:
        request.url = url.copy_with(host=str(address))
        return await self._inner.handle_async_request(request)


@asynccontextmanager
async def open_outbound(trusted: Collection[str]) -> AsyncIterator[Outbound]:
    """Opens the client for providers. Connections are not reused: one to an address serves only a single name."""
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=0)
    transport = GuardedTransport(httpx.AsyncHTTPTransport(verify=public_tls(), limits=limits, trust_env=False), trusted)
    async with httpx.AsyncClient(transport=transport, timeout=_TIMEOUT_S, trust_env=False) as http:
        yield Outbound(http)


def is_public(address: Address) -> bool:
    """Whether it is a public address; IPv4 addresses embedded in IPv6 ones are checked too."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if inner:
            return is_public(inner)
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address.is_global and not address.is_multicast


def origin_of(url: str) -> str:
    """`https://host:port`, always with the port. Empty if there is no host."""
    parts = urlsplit(url)
    if not parts.hostname:
        return ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{parts.hostname}:{port}"


async def _look_up(host: str, port: int) -> list[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(f"there is no host {host}") from error
    # Link-local addresses are followed by `%` and their zone.
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses:
        raise httpx.ConnectError(f"there is no host {host}")
    return list(dict.fromkeys(addresses))


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
