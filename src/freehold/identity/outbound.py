"""Calls to identity providers: short, small, without redirects, and never to a place inside our own network.

A provider's documents name the addresses that we call next. So what an operator wrote down may be anywhere, but
what a document names must be public: else whoever controls a provider could have us call our neighbours.
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
    """A provider's answer: its status, and the JSON in it (None if it is none)."""

    status: int
    content: Any


@dataclass(frozen=True, slots=True)
class Outbound:
    """Gets JSON from providers. `timeout_s` is for a whole call, however slowly its bytes arrive."""

    http: httpx.AsyncClient
    timeout_s: float = _TIMEOUT_S
    max_bytes: int = _MAX_BYTES

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Raises `IdentityProviderUnavailable` when there is no answer within the limits, or a 5xx."""
        return await self._call("GET", url, headers or {}, None)

    async def post(self, url: str, headers: Mapping[str, str], content: str) -> Reply:
        """Raises `IdentityProviderUnavailable` when there is no answer within the limits, or a 5xx."""
        return await self._call("POST", url, headers, content)

    async def _call(self, method: str, url: str, headers: Mapping[str, str], content: str | None) -> Reply:
        host = urlsplit(url).hostname
        # Identity, for a few compressed bytes can become any number.
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
    """Looks up each host itself and connects to the very address that it has checked.

    `trusted` are origins that an operator wrote down, as `https://host:port`: those may be inside.
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
        # The certificate is the name's, not the address's.
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
    """The way out to providers. No connection is kept: one to an address serves a single name only."""
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=0)
    transport = GuardedTransport(httpx.AsyncHTTPTransport(verify=public_tls(), limits=limits, trust_env=False), trusted)
    async with httpx.AsyncClient(transport=transport, timeout=_TIMEOUT_S, trust_env=False) as http:
        yield Outbound(http)


def is_public(address: Address) -> bool:
    """Whether it is somewhere on the internet, also by way of an IPv4 address written into an IPv6 one."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if inner:
            return is_public(inner)
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address.is_global and not address.is_multicast


def origin_of(url: str) -> str:
    """`https://host:port`, the port always said. Empty for what has no host."""
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
    # An address of this link comes with its zone behind a `%`.
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses:
        raise httpx.ConnectError(f"there is no host {host}")
    return list(dict.fromkeys(addresses))


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
