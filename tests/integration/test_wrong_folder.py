"""A command in a folder without an installation says so, which setting to set, and makes nothing."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from testbed.servers import FREEHOLD, ROOT, clean_environ, missing

from freehold.cli.main import cli
from tests.support.commands import COMMANDS

# Every command that works on an installation, with what it needs to be told.
ON_AN_INSTALLATION: dict[str, list[str]] = {
    "users list": [],
    "users show": ["ada@example.com"],
    "users set-password": ["ada@example.com", "--password-stdin"],
    "api-keys create": ["ada@example.com", "--name", "x"],
    "api-keys list": ["ada@example.com"],
    "api-keys delete": ["ada@example.com", "x"],
    "keys list": [],
    "keys rotate": [],
    "registry keys list": [],
    "registry keys add": ["0nTqK8Zc2Y0c5f5c1m9m0m8Xo2Z8s4b5Hq3n6c7w8x0"],
    "registry keys rotate": [],
    "audit list": [],
    "audit verify": [],
    "rollout plan": [],
    "rollout start": [],
    "rollout status": [],
    "rollout work": [],
    "rollout pause": [],
    "rollout resume": [],
    "rollout abort": ["--yes"],
    "rollout retry": ["--failed"],
    "rollout restore": ["--all", "--yes"],
    "rollout discard": ["--yes"],
    "central copy": ["--to", "sqlite:///elsewhere.db"],
    "central reopen": [],
    "tenants list": [],
    "tenants create": ["--pending"],
    "tenants provision": [],
    "tenants show": ["ada@example.com"],
    "tenants migrate": ["ada@example.com"],
    "tenants suspend": ["ada@example.com"],
    "tenants resume": ["ada@example.com"],
    "tenants fork": ["ada@example.com"],
    "tenants export": ["ada@example.com", "ada.db"],
    "tenants restore": ["ada@example.com", "FILE", "--yes"],
    "tenants delete": ["ada@example.com", "--yes"],
    "tenants check": [],
    "tenants reconcile": [],
    "tenants repair": ["--all-broken"],
    "tenants sql": ["ada@example.com", "SELECT 1"],
    "tenants rotate": ["ada@example.com"],
}
# They begin an installation, or need none.
OTHERS = {
    "serve", "sqld", "dev turso", "dev sqld", "users create-admin", "users import", "registry publish",
    "registry status", "registry new", "registry diff", "registry lint", "registry seal", "registry test",
    "registry sign",
}  # fmt: skip


LEAVES = [" ".join(words[1:]) for words, each in COMMANDS.items() if not isinstance(each, click.Group)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("DATA_DIR", "DATABASE_URL", "BETTER_AUTH_SECRET", "TENANT_PROVIDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCHEMA_REGISTRY", str(ROOT / "schema_registry/bahar"))
    return tmp_path


def run(*words: str, stdin: str = "correct horse battery\n", **variables: str) -> Result:
    return CliRunner().invoke(cli, words, input=stdin, env=variables, prog_name="freehold")


def test_every_command_is_known_to_begin_an_installation_or_to_need_one() -> None:
    assert set(LEAVES) - OTHERS <= ON_AN_INSTALLATION.keys(), "say what it does where there is no installation"


@pytest.mark.parametrize("name", [name for name in LEAVES if name not in OTHERS])
def test_a_command_without_an_installation_makes_nothing_and_says_where_it_looked(folder: Path, name: str) -> None:
    words = ON_AN_INSTALLATION[name]
    if "FILE" in words:
        (folder / "FILE").touch()
    before = set(folder.iterdir())
    done = run(*name.split(), *words)
    assert done.exit_code == 3, done.output
    assert done.stdout == ""
    assert f"DATA_DIR: there is no installation in `{folder}/data`" in done.stderr
    assert "freehold serve" in done.stderr
    assert set(folder.iterdir()) == before


def test_a_central_database_that_is_not_there_is_named(folder: Path) -> None:
    done = run("audit", "list", DATABASE_URL=f"sqlite:///{folder}/users.db")
    assert (done.exit_code, f"DATABASE_URL: there is no central database in `{folder}/users.db`" in done.stderr) == (
        3,
        True,
    )
    (folder / "notes.txt").write_text("no database at all, whatever its length may be" * 10)
    assert run("audit", "list", DATABASE_URL=f"sqlite:///{folder}/notes.txt").exit_code == 3
    with closing(sqlite3.connect(folder / "other.db")) as db:
        db.execute("CREATE TABLE notes (x)")
    other = run("audit", "list", DATABASE_URL=f"sqlite:///{folder}/other.db")
    assert other.exit_code == 3
    with closing(sqlite3.connect(folder / "other.db")) as db:
        assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("notes",)]
    assert not (folder / "data").exists()


def test_a_folder_of_migrations_that_is_not_there_is_named_before_anything_is_made(folder: Path) -> None:
    for words in (["serve"], ["registry", "publish"], ["registry", "lint"], ["registry", "status"]):
        done = run(*words, SCHEMA_REGISTRY="nowhere", PORT="0")
        assert done.exit_code == 3
        assert f"SCHEMA_REGISTRY: there is no folder `{folder}/nowhere`" in done.stderr
    assert not (folder / "data").exists()


def test_what_only_tells_tells_it_of_an_empty_installation_and_makes_none(folder: Path) -> None:
    status = run("registry", "status")
    assert (status.exit_code, status.stdout.count("pending")) == (1, 9)
    assert f"there is no installation in `{folder}/data`" in status.stderr
    would = run("registry", "publish", "--dry-run")
    assert (would.exit_code, would.stdout.count("would publish")) == (0, 9)
    assert f"there is no installation in `{folder}/data`" in would.stderr
    assert not (folder / "data").exists()


def test_what_begins_an_installation_says_where(folder: Path) -> None:
    made = run("registry", "publish")
    assert made.exit_code == 0
    assert f"a new installation was made in {folder}/data" in made.stderr
    again = run("users", "create-admin", "ada@example.com", "--password-stdin")
    assert (again.exit_code, "new installation" in again.stderr) == (0, False)
    assert "ada@example.com" in run("users", "list").stdout


def test_the_keys_of_another_folder_are_asked_for_and_not_made(folder: Path) -> None:
    assert run("registry", "publish").exit_code == 0
    central = f"sqlite:///{folder}/data/central.db"
    (folder / "elsewhere").mkdir()
    done = run("tenants", "list", DATABASE_URL=central, DATA_DIR=f"{folder}/elsewhere")
    assert done.exit_code == 3
    assert "BETTER_AUTH_SECRET: not set" in done.stderr
    assert list((folder / "elsewhere").iterdir()) == []


def test_an_installation_of_dev_sqld_is_pointed_to(folder: Path) -> None:
    assert run("registry", "publish").exit_code == 0
    (folder / "data/sqld").mkdir()
    for suffix in ("", "-wal", "-shm"):
        if (path := folder / f"data/central.db{suffix}").exists():
            path.rename(folder / f"data/sqld/central.db{suffix}")
    done = run("audit", "list")
    assert done.exit_code == 3
    assert "freehold dev sqld --print" in done.stderr
    assert run("dev", "sqld", "--print").exit_code == 4  # none runs there
    assert run("registry", "publish").exit_code == 0
    both = run("audit", "list")
    assert (both.exit_code, "freehold dev sqld" in both.stderr) == (0, True)


# What may not be read, written or decoded -----------------------------------------------------------


def command(folder: Path, *words: str, most_blocks: int | None = None) -> tuple[int, str]:
    """A real command, without root's right to read and write whatever there is; what it writes may have a limit."""
    bound: list[str] = []
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            missing("setpriv is not installed, and this runs as root")
        bound = [setpriv or "", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    limit = "" if most_blocks is None else f"ulimit -f {most_blocks};"
    done = subprocess.run(
        [*bound, "bash", "-c", f'{limit} exec "$@"', "bash", FREEHOLD, *words],
        env=clean_environ(SCHEMA_REGISTRY=str(ROOT / "schema_registry/bahar"), PORT="0"),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of an installation with all migrations published, to be copied."""
    data = tmp_path_factory.mktemp("published") / "data"
    made = run("registry", "publish", DATA_DIR=str(data), SCHEMA_REGISTRY=str(ROOT / "schema_registry/bahar"))
    assert made.exit_code == 0, made.stderr
    return data


@pytest.fixture
def installation(folder: Path, published: Path) -> Iterator[Path]:
    shutil.copytree(published, folder / "data")
    yield folder
    (folder / "data").chmod(0o700)
    (folder / "data" / "keys").chmod(0o700)


@pytest.mark.parametrize("mode", [0o000, 0o500])
@pytest.mark.parametrize("place", ["data", "data/keys", "data/central.db"])
def test_an_installation_that_may_not_be_written_is_named_with_what_to_do(
    installation: Path, place: str, mode: int
) -> None:
    (installation / place).chmod(mode)
    for words in (["tenants", "list"], ["registry", "publish"]):
        code, stderr = command(installation, *words)
        assert code == 3, stderr
        assert "DATA_DIR: " in stderr
        assert f"/{place}`" in stderr
        assert "chmod -R u+rwX" in stderr


def test_the_installation_of_another_user_says_whose_it_is(installation: Path) -> None:
    if os.geteuid() != 0:
        missing("only root may give a folder away")
    data = installation / "data"
    os.chown(data, 999, 999)
    try:
        for words in (["users", "list"], ["serve"]):
            code, stderr = command(installation, *words)
            assert code == 3
            assert f"`{data}` belongs to user 999, and this runs as 0: run it as that user" in stderr
    finally:
        os.chown(data, 0, 0)


def test_a_full_disk_is_told_as_what_it_is(installation: Path) -> None:
    code, stderr = command(installation, "tenants", "list", most_blocks=8)
    assert code == 4
    assert "the central database does not answer; try again in a moment (" in stderr
    assert "disk" in stderr


@pytest.mark.parametrize("content", ["PORT=0\n".encode("utf-16"), b"MAIL_FROM=M\xfcller\n", None])
def test_a_file_of_settings_that_cannot_be_read_is_named(folder: Path, content: bytes | None) -> None:
    file = folder / ".env"
    file.write_bytes(content or b"PORT=0")
    if content is None:
        file.chmod(0)
    for words in (["serve"], ["tenants", "list"]):
        code, stderr = command(folder, *words)
        assert code == 3, stderr
        assert f"`{file}` " in stderr
        assert ("cannot be read" if content is None else "save it as UTF-8") in stderr
    assert not (folder / "data").exists()


def test_a_folder_whose_name_is_too_long_is_told(folder: Path) -> None:
    for words in (["tenants", "list"], ["users", "create-admin", "ada@example.com", "--password-stdin"]):
        done = run(*words, DATA_DIR=f"{folder}/{'a' * 300}")
        assert done.exit_code == 3, done.output
        assert "DATA_DIR: " in done.stderr or "cannot" in done.stderr
