"""A process that runs batches on tenants' files for another process, one file at a time: see `batch_processes`.

It reports that it is ready, then answers requests, and ends with its input. Frames in both directions are a length of
4 bytes, big-endian, and MessagePack.
"""

import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import apsw
import msgspec

from freehold.errors import FreeholdError
from freehold.libsql.protocol import Batch, BatchResult
from freehold.providers.sqlite.limits import Budget, Limits
from freehold.providers.sqlite.pipeline import Pipeline
from freehold.providers.sqlite.session import Session

LENGTH_BYTES = 4
_TICK_S = 0.05
_MEMORY_BYTES = 256_000_000


class Work(msgspec.Struct, frozen=True):
    """Batches to run in order on one connection to the file."""

    path: str
    limits: Limits
    batches: tuple[Batch, ...]


class Done(msgspec.Struct, frozen=True):
    """The results, or the code and the message of the error that ended all of the work."""

    results: list[BatchResult] = []
    code: str | None = None
    message: str = ""


class _Watch:
    """Interrupts statements that exceed their time, from a thread of its own."""

    def __init__(self) -> None:
        self.session: Session | None = None
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(_TICK_S)
            if (session := self.session) is not None:
                session.alarm.check_time(time.monotonic())


def frame(message: Work | Done) -> bytes:
    """The message as it is sent."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer each piece of work until the input ends."""
    apsw.hard_heap_limit(_MEMORY_BYTES)
    decoder = msgspec.msgpack.Decoder(Work)
    watch = _Watch()
    _send(Done(), outgoing)  # ready
    while len(head := incoming.read(LENGTH_BYTES)) == LENGTH_BYTES:
        work = decoder.decode(incoming.read(int.from_bytes(head, "big")))
        _send(_done(work, watch), outgoing)


def _send(done: Done, outgoing: BinaryIO) -> None:
    outgoing.write(frame(done))
    outgoing.flush()


def _done(work: Work, watch: _Watch) -> Done:
    try:
        return Done(_results(work, watch))
    except FreeholdError as error:
        return Done(code=error.code, message=str(error))


def _results(work: Work, watch: _Watch) -> list[BatchResult]:
    # Closing rolls back what is open.
    with closing(Session(Path(work.path), work.limits, read_only=False)) as session:
        session.start_request(work.limits)
        watch.session = session
        try:
            pipeline = Pipeline(session, {}, Budget(work.limits.result_bytes), is_ours=True)
            return [pipeline.batch(batch) for batch in work.batches]
        finally:
            watch.session = None


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
