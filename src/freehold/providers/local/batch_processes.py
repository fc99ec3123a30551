"""Runs our own batches on very many tenants' files, in separate processes.

Threads of one process slow each other down here: a small migration is some fifty calls into SQLite, and after each of
them a thread has to regain the interpreter lock.
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
from freehold.providers.sqlite.limits import Limits

_GRACE_S = 10.0
_START_S = 30.0

_decoder = msgspec.msgpack.Decoder(Done)


class BatchProcesses:
    """`count` processes; one that has ended is started again when it is needed. `are_up` once one answers."""

    def __init__(self, count: int) -> None:
        self.are_up = False
        self._seats = [_Seat() for _ in range(count)]
        # A process has its next piece of work before it has finished the last one: it never waits for us.
        self._room = asyncio.Semaphore(2 * count)

    async def start(self) -> None:
        """Start all processes; one that does not start is no error yet."""

        async def one(seat: _Seat) -> None:
            with contextlib.suppress(ProviderUnavailable):
                await seat.process()
                self.are_up = True

        await asyncio.gather(*(one(seat) for seat in self._seats))

    async def run(self, work: Work) -> list[BatchResult]:
        """Run the batches; a transaction that is open at the end is rolled back.

        Raises:
            NotFound: no such file.
            ProviderUnavailable: it cannot be opened, or the process ended and it is unknown whether they ran.
            FreeholdError: no transaction is left open; earlier batches may have been committed.
        """
        async with self._room:
            seat = min(self._seats, key=lambda each: each.asked)
            seat.asked += 1
            try:
                process = await seat.process()
                try:
                    done = await process.ask(work)
                except BaseException:  # also when cancelled: nobody would read its next answer
                    process.kill()
                    raise
            finally:
                seat.asked -= 1
        if done.code is not None:
            raise _error(done)
        return done.results

    async def close(self) -> None:
        """End all idle processes."""
        for seat in self._seats:
            await seat.close()


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
    """Processes that start in the background and end with this context."""
    processes = BatchProcesses(count)
    starting = asyncio.create_task(processes.start())
    try:
        yield processes
    finally:
        await starting
        await processes.close()


class _Seat:
    """A process, or the place for one. `asked` is the amount of its outstanding work."""

    def __init__(self) -> None:
        self.asked = 0
        self._process: _Process | None = None
        self._starting = asyncio.Lock()

    async def process(self) -> "_Process":
        """The process, started if it does not run. Raises `ProviderUnavailable`."""
        async with self._starting:
            if self._process is None or self._process.is_over:
                self._process = None
                self._process = await _Process.start()
            return self._process

    async def close(self) -> None:
        if self._process is not None:
            await self._process.end()


class _Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._to, self._from = process.stdin, process.stdout
        self._turn = asyncio.Lock()  # answers come in the order of the questions
        self._was_killed = False

    @classmethod
    async def start(cls) -> "_Process":
        """Start a process and wait until it reports that it is ready."""
        try:
            process = cls(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", batch_process.__name__),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    # Ctrl-C reaches only us: work under way is finished.
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
        async with self._turn:
            if self._was_killed:  # for a caller that gave up waiting: the next answer may be to that caller's request
                raise _gone()
            return await self._answer(work.limits.request_s + _GRACE_S)

    async def _answer(self, limit_s: float) -> Done:
        try:
            async with asyncio.timeout(limit_s):
                head = await self._from.readexactly(LENGTH_BYTES)
                return _decoder.decode(await self._from.readexactly(int.from_bytes(head, "big")))
        except (OSError, EOFError, TimeoutError) as error:
            raise _gone() from error

    @property
    def is_over(self) -> bool:
        """Whether the process can take no more work."""
        return self._was_killed or self._process.returncode is not None or self._from.at_eof()

    def kill(self) -> None:
        if not self.is_over:
            self._was_killed = True
            self._process.kill()

    async def end(self) -> None:
        self._to.close()
        await self._process.wait()


def _gone() -> ProviderUnavailable:
    return ProviderUnavailable("the process that migrates ended, or does not answer; whether it ran is unknown")


def _error(done: Done) -> FreeholdError:
    if done.code == NotFound.code:
        return NotFound(done.message)
    return ProviderUnavailable(done.message)
