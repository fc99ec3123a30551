"""README.md and docs/clients.md do what they say: every block is run, in order, as a reader would paste it."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import httpx
import pytest
from testbed import warm
from testbed.servers import ROOT, Service, clean_environ, missing, require

from freehold.cli.main import cli
from freehold.settings.load import variables

PAGES = ["README.md", "docs/clients.md"]
# What another file runs, because it takes a clone of its own.
ELSEWHERE = {"make run": "test_fresh_clone.py", "make test": "test_fresh_clone.py"}
# Copying a service's folder asks for it to be stopped: run by a test of its own.
BACKUP = "tar -czf freehold-backup.tar.gz data"
LANGUAGES = {"sh", "python", "js"}
# What a page promises of its first run, and another thing is true of the next: the migration is published then.
AGAIN = {
    "ada@example.com is now an administrator": "ada@example.com is an administrator already",
    "schema 9": "schema 10",
    "would publish 0010_create_notes.sql": "",
    "published 0010_create_notes.sql": "",
}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMISED = re.compile(r"(?:#|//) => (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block. Comments that start with `=>` say what it prints."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def promised(self) -> list[str]:
        return _PROMISED.findall(self.text)


def _blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    return [Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2]) for found in _FENCE.finditer(text)]


BLOCKS = {page: _blocks(page) for page in PAGES}
ALL_BLOCKS = [block for page in PAGES for block in BLOCKS[page]]


@dataclass
class Reader:
    """Somebody in a fresh checkout beside a running service, who pastes blocks into one shell."""

    service: Service

    @property
    def folder(self) -> Path:
        return self.service.folder

    def run(self, blocks: list[Block], *, is_quick: bool = False) -> dict[str, str]:
        """What each block printed, by its name; all of them must succeed.

        `is_quick`: `freehold` is forked from a process that has read its modules.
        """
        for tool in ("bash", "curl", "node"):
            require(tool)
        if not (ROOT / "tests/e2e/node/node_modules/@libsql/client").is_dir():
            missing("the JavaScript clients are not installed: run `make test` once")
        lines = ["set -euo pipefail"]
        for block in blocks:
            lines += [f"echo; echo '>>> {block.name}'", f"echo '>>> {block.name}' >&2", self._command(block)]
        environ = self._environ()
        passed: tuple[int, ...] = ()
        if is_quick:
            folder = self.folder / ".quick"
            folder.mkdir(exist_ok=True)
            needed, channel = warm.on_path(folder)
            environ |= {**needed, "PATH": f"{folder}:{environ['PATH']}"}
            passed = (channel,)
        ended = subprocess.run(
            ["bash", "-c", "\n".join(lines)],
            cwd=self.folder,
            env=environ,
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert ended.returncode == 0, f"{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
        parts = re.split(r"^>>> (.+)\n", ended.stdout, flags=re.MULTILINE)[1:]
        return dict(zip(parts[::2], parts[1::2], strict=True))

    def _command(self, block: Block) -> str:
        text = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{self.service.port}")
        if block.language == "sh":
            return "\n".join(":" if line.strip() in ELSEWHERE else line for line in text.splitlines())
        runner, ending = {"python": (sys.executable, "py"), "js": ("node", "mjs")}[block.language]
        path = self.folder / f"{Path(block.page).stem}_{block.line}.{ending}"
        path.write_text(text)
        return shlex.join([runner, path.name])

    def _environ(self) -> dict[str, str]:
        environ = clean_environ(PYTHONUTF8="1", NO_COLOR="1")
        return {**environ, "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}"}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    shutil.copytree(ROOT / "schema_registry", tmp_path / "schema_registry")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "node_modules").symlink_to(ROOT / "tests/e2e/node/node_modules")
    service = Service(tmp_path).start()
    yield Reader(service)
    service.stop()


@pytest.mark.timeout(900)  # each page twice, and forty commands on one; a few seconds each where others work too
@pytest.mark.parametrize("page", PAGES)
def test_every_block_works_and_prints_what_the_page_says_and_the_readmes_again(reader: Reader, page: str) -> None:
    blocks = [block for block in BLOCKS[page] if block.language in LANGUAGES and BACKUP not in block.text]
    for is_again in (False, True) if page == "README.md" else (False,):
        printed = reader.run(blocks, is_quick=is_again)
        for block in blocks:
            left = printed[block.name]
            for promised in block.promised:
                promise = AGAIN.get(promised, promised) if is_again else promised
                if not promise:
                    continue
                assert promise in left, f"{block.name} does not print {promise!r}, but:\n{printed[block.name]}"
                left = left.split(promise, 1)[1]


def test_the_backup_of_the_readme_can_be_restored(reader: Reader, tmp_path: Path) -> None:
    blocks = BLOCKS["README.md"]
    client_app = blocks[: 1 + [block.language for block in blocks].index("python")]
    [backup] = [block for block in blocks if BACKUP in block.text]
    reader.run([block for block in client_app if block.language in LANGUAGES], is_quick=True)
    assert reader.service.stop() == 0
    reader.run([backup])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["tar", "-xzf", tmp_path / "freehold-backup.tar.gz"], cwd=elsewhere, check=True)
    restored = Service(elsewhere).start()
    try:
        [javascript] = [block for block in blocks if block.language == "js"]
        (elsewhere / "node_modules").symlink_to(ROOT / "tests/e2e/node/node_modules")
        assert "كتاب book" in Reader(restored).run([javascript])[javascript.name]
        old = httpx.get(f"{restored.url}/migrations/keys").json()
        assert len(old) == 1
    finally:
        restored.stop()


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=lambda block: block.name)
def test_every_block_is_one_that_is_run_here_or_elsewhere(block: Block) -> None:
    if block.language not in LANGUAGES:
        assert block.language == "text", f"nothing runs a block of {block.language!r}"
        return
    for line in block.text.splitlines() if block.language == "sh" else []:
        for word in ("make", "npm", "pip", "sudo", "docker"):
            if re.match(rf"\s*{word}\b", line):
                assert line in ELSEWHERE, f"nothing runs {line!r}"


def test_what_is_run_elsewhere_is_run_there() -> None:
    shown = {line for block in ALL_BLOCKS for line in block.text.splitlines()}
    for command, name in ELSEWHERE.items():
        assert command in shown
        assert repr(command.split()[1]).replace("'", '"') in (ROOT / "tests/e2e" / name).read_text()


@pytest.mark.parametrize("page", PAGES)
def test_commands_within_sentences_exist(page: str) -> None:
    sentences = _FENCE.sub("", (ROOT / page).read_text())
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for code in re.findall(r"`([^`\n]+)`", sentences):
        words = code.split()
        if words[0] == "make":
            assert words[1:2] in [[], *([target] for target in targets)], code
        if words[0] == "freehold":
            command: click.Command = cli
            for word in [word for word in words[1:] if word != "--help"]:
                assert isinstance(command, click.Group), code
                found = command.get_command(click.Context(command), word)
                assert found is not None, code
                command = found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / page).parent.joinpath(link).exists(), link


def test_settings_that_are_named_exist() -> None:
    known = set(variables())
    for page in PAGES:
        named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+|HOST|PORT)`", (ROOT / page).read_text()))
        assert named <= known, named - known
