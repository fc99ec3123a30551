"""What verbs that serve have in common: a port, and an end in good order."""

import contextlib
import errno
import resource
import socket
import time

from freehold.settings.fields import BadSettings

_FILES = 65_536
_FREED_WITHIN_S = 1.0


def listen(host: str, port: int, port_name: str = "PORT", *, reuse_port: bool = False) -> socket.socket:
    """A bound port, before anything else starts, so that one in use is found at once; `port_name` is for its faults.

    Raises:
        BadSettings: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    until = time.monotonic() + _FREED_WITHIN_S
    while True:
        try:
            listener = socket.create_server((host, port), family=family, backlog=2048, reuse_port=reuse_port)
            break
        except (OSError, UnicodeError) as error:
            # The processes of a service that was killed end a moment after it.
            is_in_use = getattr(error, "errno", None) == errno.EADDRINUSE
            if not is_in_use or time.monotonic() > until:
                raise BadSettings([_cannot_listen(host, port, port_name, error)]) from error
        time.sleep(0.02)
    listener.setblocking(False)
    # A listener made here has no protocol number, by which asyncio knows that it may turn Nagle's delay off.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def listen_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """As many bound ports of one number, among which the system spreads connections by a hash of their addresses.

    Raises:
        BadSettings: it cannot be had.
    """
    # Sockets that share a port would join those of another service without a word.
    with listen(host, port) as alone:
        port = alone.getsockname()[1]
    return [listen(host, port, reuse_port=True) for _ in range(count)]


def raise_file_limit() -> int:
    """Let this process open as many files as it may, up to a sensible number; returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return _FILES if soft == resource.RLIM_INFINITY else soft


def _cannot_listen(host: str, port: int, port_name: str, error: OSError | UnicodeError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"{port_name}: {port} is in use on {host}; stop what listens there or choose another"
    if number == errno.EACCES:
        return f"{port_name}: only root may listen on {port}; choose another"
    return f"HOST: cannot listen on `{host}`; give an address of this machine, such as 127.0.0.1"
