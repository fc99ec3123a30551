"""Reads the modules of the installed command once, then forks into it whenever `testbed.warm` asks.

What is forked is a process like any other: it has the arguments, environment, folder and standard streams that it was
asked for, ends by itself or by signals, and shares nothing but the modules that were read.
"""

import atexit
import gc
import importlib
import os
import pkgutil
import signal
import socket
import sys
from dataclasses import dataclass

import msgspec

MOST_BYTES = 100_000
_EAGER = ("freehold.wiring.services", "freehold.http.app", "freehold.twin.app", "uvicorn.lifespan.on")
# What a service or a command reads only once it needs it: a quarter of the processor time in which a service starts.
_LATE = (
    *("uvloop", "freehold.settings.names", "alembic.command", "alembic.context"),
    *("freehold.wiring.engines", "freehold.providers.local.provider", "freehold.providers.local.processes.client"),
    *("freehold.providers.sqld.provider", "freehold.providers.turso.provider"),
    *("httpcore", "anyio._backends._asyncio", "anyio.streams.tls", "litestar.plugins.attrs"),
    *("litestar._kwargs.kwargs_model", "litestar.middleware._internal.exceptions"),
)
_EAGER_PROTOCOLS = ("uvicorn.loops.auto", "uvicorn.protocols.http.httptools_impl", "uvicorn.protocols.websockets.auto")


class Order(msgspec.Struct, frozen=True):
    """A command that is to run. With it come four descriptors: its three streams, and where to tell how it went."""

    argv: list[str]
    environ: dict[str, str]
    folder: str


@dataclass(frozen=True)
class _Received:
    order: Order
    streams: list[int]
    told: int


class _Ending:
    """Ends a process once its own handlers have run, without taking all modules apart: 0.1 s, much of it copying.

    That is done only where the command says how it ends; what it does not catch goes its usual way.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._end)  # the first to register is the last to be called

    def _end(self) -> None:
        if self.code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.code)


def main() -> None:
    sys.path[0] = os.path.dirname(sys.executable)  # noqa: PTH120 - as for the installed command
    ending = _Ending()
    _read_modules()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _become(_next_order(socket.socket(fileno=int(sys.argv[1]))))
    from freehold.cli.main import main as command

    try:
        command()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            ending.code = end.code or 0
        raise


def _read_modules() -> None:
    import freehold.cli

    verbs = [f"freehold.cli.{each.name}" for each in pkgutil.iter_modules(freehold.cli.__path__)]
    for name in (*_EAGER, *_EAGER_PROTOCOLS, *_LATE, *verbs):
        importlib.import_module(name)
    from freehold.tls import public_tls

    public_tls()  # it is kept
    gc.freeze()  # or each process looks through all that was read here when it ends


def _next_order(channel: socket.socket) -> _Received:
    """Returns in the process that is to carry it out; the others end here."""
    while True:
        text, descriptors, _, _ = socket.recv_fds(channel, MOST_BYTES, 4)
        if not text:  # nobody is left who could ask
            os._exit(0)
        received = _Received(msgspec.json.decode(text, type=Order), descriptors[:3], descriptors[3])
        if not os.fork():
            break
        for each in descriptors:
            os.close(each)
    channel.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        _tell_end(child, received)
    os.close(received.told)
    return received


def _tell_end(child: int, received: _Received) -> None:
    for each in (0, 1, 2, *received.streams):
        os.close(each)
    os.write(received.told, b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    os.write(received.told, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(received: _Received) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream, descriptor in enumerate(received.streams):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(received.order.environ)
    os.chdir(received.order.folder)
    sys.argv[:] = received.order.argv
    sys.modules["__main__"].__package__ = None  # or click calls the command `python -m tests.freehold`


if __name__ == "__main__":
    main()
