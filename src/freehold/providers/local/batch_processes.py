"""Runs our own batches on a great many tenants' files, in processes of their own.

Threads of one process get in each other's way there: a small migration is some fifty calls into SQLite, and after
each of them a thread has to get the interpreter back.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from freehold.errors import FreeholdError, NotFound, ProviderUnavailable
from freehold.libsql.protocol import Batch, BatchResult
from freehold.providers.local import batch_process
from freehold.providers.local.batch_process import LENGTH_BYTES, Done, Work, frame
from freehold.providers.local.limits import Limits

_GRACE_S = 10.0
_START_S = 30.0

_decoder = msgspec.msgpack.Decoder(Done)


class BatchProcesses:
    """`count` processes; one that ended by itself is started again when it is needed. `are_up` once one answers."""

    def __init__(self, count: int) -> None:
        self.are_up = False
        self._count = count
        self._free: asyncio.LifoQueue[_Process | None] = asyncio.LifoQueue()

    async def start(self) -> None:
        """Start them all; none that cannot be started is an error yet."""

        async def one() -> None:
            process = None
            with contextlib.suppress(ProviderUnavailable):
                process = await _Process.start()
                self.are_up = True
            self._free.put_nowait(process)

        await asyncio.gather(*(one() for _ in range(self._count)))

    async def run(self, work: Work) -> list[BatchResult]:
        """Run the batches; what is open at the end is rolled back.

        Raises:
            NotFound: no such file.
            ProviderUnavailable: it cannot be opened, or the process ended; then it is unknown whether they ran.
            FreeholdError: nothing is left open; what ran before may have been committed.
        """
        process = await self._free.get()
        try:
            if process is None or process.has_ended:
                process = None
                process = await _Process.start()
            done = await process.ask(work)
        except BaseException:  # being cancelled too: what it would answer next belongs to nobody
            if process is not None:
                process.kill()
            process = None
            raise
        finally:
            self._free.put_nowait(process)
        if done.code is not None:
            raise _error(done)
        return done.results

    async def close(self) -> None:
        """Let all end that are not at work."""
        while not self._free.empty():
            if process := self._free.get_nowait():
                await process.end()


class BatchTarget(msgspec.Struct, frozen=True):
    """Implements `migrate.target.Target` in one of the processes."""

    processes: BatchProcesses
    path: Path
    limits: Limits

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches in order; a transaction that is open at the end is rolled back."""
        return await self.processes.run(Work(str(self.path), self.limits, tuple(batches)))


@asynccontextmanager
async def batch_processes(count: int) -> AsyncIterator[BatchProcesses]:
    """Processes that are being started, and end with this."""
    processes = BatchProcesses(count)
    starting = asyncio.create_task(processes.start())
    try:
        yield processes
    finally:
        await starting
        await processes.close()


class _Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._to, self._from = process.stdin, process.stdout

    @classmethod
    async def start(cls) -> "_Process":
        """One that is ready: it says so when it has come that far."""
        try:
            process = cls(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", batch_process.__name__),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    # Ctrl-C is for us: what is under way comes to its end.
                    start_new_session=True,
                )
            )
        except OSError as error:
            raise ProviderUnavailable(f"cannot start a process for migrations: {error.strerror}") from error
        try:
            await process._answer(_START_S)
        except BaseException:
            process.kill()
            raise
        return process

    async def ask(self, work: Work) -> Done:
        try:
            self._to.write(frame(work))
        except (OSError, RuntimeError) as error:  # which of them depends on the event loop
            raise _gone() from error
        return await self._answer(work.limits.request_s + _GRACE_S)

    async def _answer(self, limit_s: float) -> Done:
        try:
            async with asyncio.timeout(limit_s):
                head = await self._from.readexactly(LENGTH_BYTES)
                return _decoder.decode(await self._from.readexactly(int.from_bytes(head, "big")))
        except (OSError, EOFError, TimeoutError) as error:
            raise _gone() from error

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    def kill(self) -> None:
        if not self.has_ended:
            self._process.kill()

    async def end(self) -> None:
        self._to.close()
        await self._process.wait()


def _gone() -> ProviderUnavailable:
    return ProviderUnavailable(
        "the process that migrates ended, or does not answer; whether it ran is unknown"
    )


def _error(done: Done) -> FreeholdError:
    if done.code == NotFound.code:
        return NotFound(done.message)
    return ProviderUnavailable(done.message)
