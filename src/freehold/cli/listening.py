"""What the commands that serve share: a listening socket and the limit on open files."""

import contextlib
import errno
import resource
import socket
import time

from freehold.settings.fields import BadSettings

_FILES = 65_536
_FREED_WITHIN_S = 1.0


def listen(host: str, port: int, port_name: str = "PORT", *, reuse_port: bool = False) -> socket.socket:
    """Bind the port; called before anything else starts, so that a port in use is reported at once.

    Raises:
        BadSettings: the port cannot be bound; names the setting `port_name`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    until = time.monotonic() + _FREED_WITHIN_S
    while True:
        try:
            listener = socket.create_server((host, port), family=family, backlog=2048, reuse_port=reuse_port)
            break
        except (OSError, UnicodeError) as error:
            # When a service is killed, its child processes end a moment later.
            is_in_use = getattr(error, "errno", None) == errno.EADDRINUSE
            if not is_in_use or time.monotonic() > until:
                raise BadSettings([_cannot_listen(host, port, port_name, error)]) from error
        time.sleep(0.02)
    listener.setblocking(False)
    # asyncio turns Nagle's delay off only for sockets with TCP's protocol number, which create_server does not set.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def listen_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """Bind `count` sockets to one port; the system spreads connections among them by a hash of their addresses.

    Raises:
        BadSettings: the port cannot be bound.
    """
    if count == 1:
        return [listen(host, port)]
    # Sockets that share a port would silently join those of another service.
    with listen(host, port) as alone:
        port = alone.getsockname()[1]
    return [listen(host, port, reuse_port=True) for _ in range(count)]


def raise_file_limit() -> int:
    """Raise the limit on open files to the hard limit, at most 65,536, and return the new limit."""
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
