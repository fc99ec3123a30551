"""What verbs that serve have in common: a port, and an end in good order."""

import contextlib
import errno
import signal
import socket
from collections.abc import Iterator

import uvicorn

from freehold.settings import BadSettings


class Server(uvicorn.Server):
    """Ends at SIGINT and SIGTERM without raising them once more, so that the services are closed as well."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def listen(host: str, port: int, port_name: str = "PORT") -> socket.socket:
    """A bound port, before anything else starts, so that one in use is found at once; `port_name` is for its faults.

    Raises:
        BadSettings: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        raise BadSettings([_cannot_listen(host, port, port_name, error)]) from error
    listener.setblocking(False)
    # A listener made here has no protocol number, by which asyncio knows that it may turn Nagle's delay off.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _cannot_listen(host: str, port: int, port_name: str, error: OSError | UnicodeError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"{port_name}: {port} is in use on {host}; stop what listens there or choose another"
    if number == errno.EACCES:
        return f"{port_name}: only root may listen on {port}; choose another"
    return f"HOST: cannot listen on `{host}`; give an address of this machine, such as 127.0.0.1"
