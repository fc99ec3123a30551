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
from freehold.providers.sqlite.limits import Limits

_GRACE_S = 10.0
_START_S = 30.0

_decoder = msgspec.msgpack.Decoder(Done)


class BatchProcesses:
    """`count` processes; one that ended by itself is started again when it is needed. `are_up` once one answers."""

    def __init__(self, count: int) -> None:
        self.are_up = False
        self._seats = [_Seat() for _ in range(count)]
        # The next piece of work is with a process before it has done the last: it never waits for us.
        self._room = asyncio.Semaphore(2 * count)

    async def start(self) -> None:
        """Start them all; none that cannot be started is an error yet."""

        async def one(seat: _Seat) -> None:
            with contextlib.suppress(ProviderUnavailable):
                await seat.process()
                self.are_up = True

        await asyncio.gather(*(one(seat) for seat in self._seats))

    async def run(self, work: Work) -> list[BatchResult]:
        """Run the batches; what is open at the end is rolled back.

        Raises:
            NotFound: no such file.
            ProviderUnavailable: it cannot be opened, or the process ended; then it is unknown whether they ran.
            FreeholdError: nothing is left open; what ran before may have been committed.
        """
        async with self._room:
            seat = min(self._seats, key=lambda each: each.asked)
            seat.asked += 1
            try:
                process = await seat.process()
                try:
                    done = await process.ask(work)
                except BaseException:  # being cancelled too: what it would answer next belongs to nobody
                    process.kill()
                    raise
            finally:
                seat.asked -= 1
        if done.code is not None:
            raise _error(done)
        return done.results

    async def close(self) -> None:
        """Let all end that are not at work."""
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
    """Processes that are being started, and end with this."""
    processes = BatchProcesses(count)
    starting = asyncio.create_task(processes.start())
    try:
        yield processes
    finally:
        await starting
        await processes.close()


class _Seat:
    """A process, or the place of one. `asked` is how much it has to do."""

    def __init__(self) -> None:
        self.asked = 0
        self._process: _Process | None = None
        self._starting = asyncio.Lock()

    async def process(self) -> "_Process":
        """One that runs. Raises `ProviderUnavailable`."""
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
        async with self._turn:
            if self._was_killed:  # for one who gave up waiting: the next answer may be to that one's question
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
        """Whether nothing more is to be asked of it."""
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
