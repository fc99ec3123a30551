"""Compares the addresses of servers in settings: with each other, and with this machine's."""

from ipaddress import ip_address
from urllib.parse import urlsplit

SERVERS = ("libsql://", "https://", "http://")
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443, "libsql": 443}


def is_private_to(url: str) -> bool:
    """Whether nobody in between can read or change the traffic: TLS, or this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or parts.query or parts.fragment or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in {"127.0.0.1", "::1", "localhost"})


def same_server(url: str, other: str) -> bool:
    """Whether two URLs name the same server, whatever the scheme; all names of this machine count as one."""
    place = _server(url)
    return place is not None and place == _server(other)


def _server(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    if not host:
        return None
    try:
        address = ip_address(host)
    except ValueError:
        is_here = host == "localhost" or host.endswith(".localhost")
    else:
        mapped = getattr(address, "ipv4_mapped", None) or address
        is_here = mapped.is_loopback or mapped.is_unspecified
        host = str(mapped)
    return ("localhost" if is_here else host), port


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
