"""What verbs that serve have in common: a port, and an end in good order."""

import contextlib
import ctypes
import errno
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from freehold.settings.fields import BadSettings

_FILES = 65_536
_M_ARENA_MAX = -8


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


def raise_file_limit() -> int:
    """Let this process open as many files as it may, up to a sensible number; returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return _FILES if soft == resource.RLIM_INFINITY else soft


def keep_less_memory() -> None:
    """Let threads share the C library's arenas: as many as cores, instead of eight times that. Before threads start.

    Each arena keeps up to 64 MB that it does not need, and no trimming takes that from it. Source: mallopt(3).
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, max(2, os.cpu_count() or 1))


def leave_out_of_collections() -> None:
    """Let the garbage collector pass over all that is there now: it stays as long as the process does.

    Looking through it takes 0.1 s and more, in which no request goes on, and whoever makes many objects, such as by
    sending long SQL, makes the collector look again and again. Source: the documentation of `gc.freeze`.
    """
    gc.collect()
    gc.freeze()


def _cannot_listen(host: str, port: int, port_name: str, error: OSError | UnicodeError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"{port_name}: {port} is in use on {host}; stop what listens there or choose another"
    if number == errno.EACCES:
        return f"{port_name}: only root may listen on {port}; choose another"
    return f"HOST: cannot listen on `{host}`; give an address of this machine, such as 127.0.0.1"
