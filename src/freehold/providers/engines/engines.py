"""Scratch databases on the engines that tenants' databases may run on: SQLite, libSQL and Turso's."""

import asyncio
import contextlib
import importlib.util
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from freehold.errors import FreeholdError, Unavailable
from freehold.libsql.protocol import Batch, BatchResult
from freehold.migrate.snapshot import Scratch, sqlite_scratch
from freehold.migrate.target import Target
from freehold.providers.engines.child import Request

# The Python package of each engine; SQLite comes with Python.
PACKAGES: Mapping[str, tuple[str, str]] = {"libsql": ("libsql", "libsql"), "turso": ("turso", "pyturso")}
ENGINES = ("sqlite", *PACKAGES)
_LINE_BYTES = 256 * 1024 * 1024
_ANSWER_S = 60.0


class EngineMissing(FreeholdError):
    """An engine that `registry test` should use is not installed."""

    code = "engine_missing"
    remedy = "Install it, or name others; exit code 3."
    where = "cli"


def require_engines(names: Sequence[str]) -> None:
    """Return if all are installed. Raises `EngineMissing`, which says how to install them."""
    missing = [name for name in names if name in PACKAGES and importlib.util.find_spec(PACKAGES[name][0]) is None]
    if missing:
        packages = " ".join(PACKAGES[name][1] for name in missing)
        raise EngineMissing(
            f"not installed: {', '.join(missing)}; `pip install {packages}` (or `freehold[registry]`), or leave them "
            "out with --engine, and then nothing is known about them"
        )


@asynccontextmanager
async def open_engines(names: Sequence[str]) -> AsyncIterator[dict[str, Scratch]]:
    """Factories of new databases on each engine, in the order of `names`; all databases are removed at the end.

    Raises:
        EngineMissing: one is not installed, or does not start.
    """
    require_engines(names)
    async with contextlib.AsyncExitStack() as stack:
        found: dict[str, Scratch] = {}
        for name in names:
            found[name] = sqlite_scratch if name == "sqlite" else await stack.enter_async_context(_child(name))
        yield found


@asynccontextmanager
async def _child(name: str) -> AsyncIterator[Scratch]:
    with tempfile.TemporaryDirectory(prefix="freehold-") as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "freehold.providers.engines.child", name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_LINE_BYTES,
        )
        child = _Child(name, process)
        try:
            if await child.line() != b"ready\n":
                raise EngineMissing(f"the engine {name} does not start; install it again, or leave it out")
            count = 0

            @asynccontextmanager
            async def scratch() -> AsyncIterator[Target]:
                nonlocal count
                count += 1
                yield _ChildTarget(child, Path(folder) / f"{count}.db")

            yield scratch
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class _Child:
    """One process of an engine; it handles one request at a time."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process
        self._asking = asyncio.Lock()

    async def ask(self, request: Request) -> bytes:
        async with self._asking:
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(msgspec.json.encode(request) + b"\n")
                await self._process.stdin.drain()
            except ConnectionError:
                return b""
            return await self.line()

    async def line(self) -> bytes:
        """Its next line; empty when it has ended."""
        assert self._process.stdout is not None
        try:
            return await asyncio.wait_for(self._process.stdout.readline(), _ANSWER_S)
        except (TimeoutError, ValueError) as error:
            raise Unavailable(f"the engine {self._name} does not answer") from error


class _ChildTarget:
    """One database file on that engine."""

    def __init__(self, child: _Child, path: Path) -> None:
        self._child = child
        self._path = path

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches as `Target` specifies."""
        line = await self._child.ask(Request(str(self._path), tuple(batches)))
        if not line:
            raise Unavailable("the engine's process ended; it may have crashed on what it was given")
        return msgspec.json.decode(line, type=list[BatchResult])
