"""What a command takes before it does its work: milliseconds of the processor, and how many modules it imports."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.servers import ROOT, clean_environ

from bench.report import Finding, compare, note

COMMANDS = {"start-up, --help": ("--help",), "start-up, tenants list": ("tenants", "list")}
_ROUNDS = 9
# The installed command, and a file for what only it can tell.
_COMMAND = """
import sys
told = sys.argv.pop(1)
sys.argv[0] = "freehold"
from freehold.cli.main import main
try:
    main()
finally:
    with open(told, "w") as file:
        file.write(str(len(sys.modules)))
"""
# The least that a command with options needs.
_FLOOR = """
import sys
import click
with open(sys.argv[1], "w") as file:
    file.write(str(len(sys.modules)))
"""


@dataclass(frozen=True, slots=True)
class Start:
    """What one start took."""

    cpu_ms: float
    modules: int


@dataclass(frozen=True, slots=True)
class Installation:
    """A folder of its own for data, and whose source runs there."""

    folder: Path
    source: dict[str, str]

    def prepare(self) -> None:
        """Make what commands look into; the source is compiled from here on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for words in (("registry", "publish"), *COMMANDS.values()):
            self.start(words)

    def start(self, words: Sequence[str]) -> Start:
        """Run a command to its end."""
        return _started(_COMMAND, words, self.folder, self.source)


async def run() -> AsyncIterator[Finding]:
    """Each command beside a program that only reads its options."""
    with tempfile.TemporaryDirectory() as folder:
        ours = Installation(Path(folder), {})
        await asyncio.to_thread(ours.prepare)
        for name, words in COMMANDS.items():
            note(f"measuring {name}")
            starts, floors = [], []
            for _ in range(_ROUNDS):
                floors.append(await asyncio.to_thread(_started, _FLOOR, (), ours.folder, {}))
                starts.append(await asyncio.to_thread(ours.start, words))
            for finding in _findings(name, starts, floors):
                yield finding


async def run_against(revision: str, tree: Path, names: Sequence[str]) -> AsyncIterator[Finding]:
    """These commands beside those of the source in `tree`; less is better."""
    with tempfile.TemporaryDirectory(prefix="freehold-bench-data-") as folder:
        new = Installation(Path(folder) / "new", {})
        old = Installation(Path(folder) / "old", {"PYTHONPATH": str(tree / "src")})
        for each in (new, old):
            await asyncio.to_thread(each.prepare)
        for name in names:
            note(f"measuring {name}, beside {revision}")
            ours, theirs = [], []
            for _ in range(_ROUNDS):
                theirs.append(await asyncio.to_thread(old.start, COMMANDS[name]))
                ours.append(await asyncio.to_thread(new.start, COMMANDS[name]))
            for finding in _findings(name, ours, theirs, revision):
                yield finding


def _findings(name: str, ours: Sequence[Start], theirs: Sequence[Start], beside: str = "floor") -> Iterator[Finding]:
    cpu_ms = [each.cpu_ms for each in ours], [each.cpu_ms for each in theirs]
    yield compare(f"{name}, processor", "ms", *cpu_ms, beside=beside)
    modules = [float(each.modules) for each in ours], [float(each.modules) for each in theirs]
    yield compare(f"{name}, modules", "", *modules, beside=beside)


def _started(script: str, words: Sequence[str], folder: Path, source: dict[str, str]) -> Start:
    told = folder / "told"
    environ = clean_environ(
        DATA_DIR=str(folder / "data"), SCHEMA_REGISTRY=str(ROOT / "schema_registry/bahar"), **source
    )
    output = folder / "output"
    with output.open("wb") as file:
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(told), *words],
            cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: {output.read_text(errors='replace')[-1000:]}")
    return Start((used.ru_utime + used.ru_stime) * 1000, int(told.read_text()))
