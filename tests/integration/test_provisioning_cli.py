"""`freehold tenants` and `scripts/create_user_dbs.py` as an operator runs them."""

import contextlib
import json
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from testbed import warm
from testbed.servers import FREEHOLD, ROOT, clean_environ

from freehold.central.tenants.rows import new_tenant_row
from freehold.cli.tenants import tenants
from freehold.dates import utc_now

_NEVER_MS = 9_999_999_999_999
_MOMENT = "2026-01-01T00:00:00.000Z"
_REGISTRY = ROOT / "schema_registry" / "bahar"


class InstallationOnDisk:
    """One installation on disk, and commands run on it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.environ = clean_environ(DATA_DIR=str(data_dir), SCHEMA_REGISTRY=str(_REGISTRY))

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return warm.run(words, folder=self.data_dir.parent, environ={**self.environ, **variables})

    def add(self, tenant_id: str, **columns: Any) -> None:
        row = {**new_tenant_row(f"user-{tenant_id}", "local", utc_now()), "id": tenant_id, **columns}
        self._insert("tenant", row)

    def add_user(self, user_id: str) -> None:
        row = {
            "id": user_id, "name": "n", "email": f"{user_id}@example.com", "emailVerified": 0,
            "createdAt": _MOMENT, "updatedAt": _MOMENT,
        }  # fmt: skip
        self._insert("user", row)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.data_dir / "central.db")) as db:
            return db.execute(sql).fetchall()

    def databases(self) -> set[str]:
        return {path.stem for path in (self.data_dir / "tenants").rglob("*.db")}

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        with contextlib.closing(sqlite3.connect(self.data_dir / "central.db")) as db, db:
            names = ", ".join(f'"{name}"' for name in row)
            db.execute(f'INSERT INTO "{table}" ({names}) VALUES ({", ".join("?" * len(row))})', list(row.values()))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with the registry published and nobody in it; tests work on copies."""
    data_dir = tmp_path_factory.mktemp("published") / "data"
    done = InstallationOnDisk(data_dir).run("registry", "publish")
    assert done.returncode == 0, done.stderr
    return data_dir


@pytest.fixture
def place(published: Path, tmp_path: Path) -> InstallationOnDisk:
    shutil.copytree(published, tmp_path / "data")
    return InstallationOnDisk(tmp_path / "data")


def _objects(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def test_list_gives_one_object_a_line_by_state_limit_and_after(place: InstallationOnDisk) -> None:
    for number in range(5):
        place.add(f"t{number}")
    place.add("t5", state="failed", error="the disk\nis full", attempts=3, due_at_ms=_NEVER_MS)
    listed = place.run("tenants", "list", "--json")
    assert listed.returncode == 0
    found = _objects(listed.stdout)
    assert [each["tenant_id"] for each in found] == [f"t{number}" for number in range(6)]
    assert set(found[5]) == {
        "tenant_id", "user_id", "database_name", "provider", "state", "schema_version", "error", "attempts",
        "created_at", "updated_at", "email",
    }  # fmt: skip
    failed = _objects(place.run("tenants", "list", "--state", "failed", "--json").stdout)
    assert [(each["tenant_id"], each["error"], each["attempts"]) for each in failed] == [("t5", "the disk\nis full", 3)]
    page = _objects(place.run("tenants", "list", "--limit", "2", "--after", "t1", "--json").stdout)
    assert [each["tenant_id"] for each in page] == ["t2", "t3"]


def test_list_shows_the_address_of_each_user_and_none_for_a_fork(place: InstallationOnDisk) -> None:
    place.add_user("user-t1")
    place.add("t1")
    place.add("t2", user_id="fork:t1:t2")
    listed = place.run("tenants", "list")
    assert [line.split()[5] for line in listed.stdout.splitlines()[1:]] == ["user-t1@example.com", "-"]
    found = _objects(place.run("tenants", "list", "--json").stdout)
    assert [each["email"] for each in found] == ["user-t1@example.com", None]
    assert json.loads(place.run("tenants", "show", "t1", "--json").stdout)["email"] == "user-t1@example.com"


def test_list_without_a_terminal_is_plain_text_with_one_line_a_tenant(place: InstallationOnDisk) -> None:
    place.add("t1", state="failed", error="the disk\nis [red]full[/red]", attempts=3, due_at_ms=_NEVER_MS)
    listed = place.run("tenants", "list")
    header, line = listed.stdout.splitlines()
    assert header.split() == ["tenant_id", "state", "version", "database", "user_id", "email", "error"]
    assert line.endswith("the disk is [red]full[/red] (failed 3 times)")
    assert "in all: 1 failed" in listed.stderr


def test_list_of_nobody_says_so_and_is_no_failure(place: InstallationOnDisk) -> None:
    listed = place.run("tenants", "list")
    assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 1)
    assert "no tenants yet" in listed.stderr
    assert place.run("tenants", "list", "--state", "failed", "--json").stdout == ""


def test_a_reader_that_stops_early_gets_no_traceback(place: InstallationOnDisk) -> None:
    with contextlib.closing(sqlite3.connect(place.data_dir / "central.db")) as db, db:
        for number in range(3000):
            row = {**new_tenant_row(f"u{number}", "local", utc_now()), "due_at_ms": None, "state": "ready"}
            db.execute(f"INSERT INTO tenant VALUES ({', '.join('?' * len(row))})", list(row.values()))
    reader = subprocess.run(
        ["bash", "-c", f"{FREEHOLD} tenants list --json | head -n 1"],
        env=place.environ, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert len(_objects(reader.stdout)) == 1
    assert "Traceback" not in reader.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--state", "broken"),
        ("list", "--limit", "0"),
        ("list", "--limit", "x"),
        ("create",),
        ("create", "--pending", "extra"),
        ("provision", "extra"),
    ],
)
def test_wrong_use_is_exit_code_2_with_a_hint(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(tenants, words)
    assert done.exit_code == 2
    assert "Usage:" in done.stderr


@pytest.mark.parametrize("words", [(), ("list",), ("create",)])
def test_help_ends_with_examples(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(tenants, [*words, "--help"])
    assert shown.exit_code == 0
    assert "freehold tenants" in shown.stdout.split("Examples:")[1]


def test_create_makes_what_is_due_also_for_users_without_a_tenant_and_twice_does_nothing(
    place: InstallationOnDisk,
) -> None:
    for number in range(3):
        place.add(f"t{number}")
    place.add_user("imported")
    would = place.run("tenants", "provision", "--dry-run", "--json")
    assert _objects(would.stdout) == [{"due": 3, "users_without_tenant": 1}]
    assert place.databases() == set()
    done = place.run("tenants", "provision", "--json")
    assert done.returncode == 0, done.stderr
    head = len(list(_REGISTRY.glob("*.sql")))
    made = _objects(done.stdout)
    assert {(each["state"], each["schema_version"], each["error"]) for each in made} == {("ready", head, None)}
    rows = place.rows("SELECT database_name, state, schema_version FROM tenant")
    assert {row[1:] for row in rows} == {("ready", head)}
    assert place.databases() == {row[0] for row in rows} == {each["database_name"] for each in made}
    assert place.rows("SELECT count(*) FROM tenant WHERE user_id = 'imported'") == [(1,)]
    again = place.run("tenants", "create", "--pending", "--json")
    assert (again.returncode, again.stdout) == (0, "")


def test_create_tells_what_failed_and_goes_on_with_the_others(place: InstallationOnDisk) -> None:
    place.add("bad", database_name="../outside")
    place.add("good")
    done = place.run("tenants", "provision")
    assert done.returncode == 1
    assert "bad: a database name has" in done.stderr
    assert "made 1 databases, 1 failed" in done.stderr
    assert place.rows("SELECT id, state, attempts FROM tenant ORDER BY id") == [
        ("bad", "failed", 1),
        ("good", "ready", 0),
    ]
    assert not list(place.data_dir.parent.rglob("outside*"))


def test_create_says_unreachable_when_nothing_can_be_made(place: InstallationOnDisk) -> None:
    (place.data_dir / "tenants").write_text("a file in the place of the folder")
    for number in range(9):
        place.add(f"t{number}")
    done = place.run("tenants", "provision")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr


def test_the_script_is_the_same_verb(place: InstallationOnDisk) -> None:
    place.add("t1")
    script = str(ROOT / "scripts" / "create_user_dbs.py")
    would = subprocess.run(
        [sys.executable, script, "--dry-run"],
        cwd=place.data_dir.parent, env=place.environ, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert would.stdout == "would make 1 databases, 0 for users without a tenant\n"
    subprocess.run(
        [sys.executable, script],
        cwd=place.data_dir.parent, env=place.environ, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert len(place.databases()) == 1


def test_on_a_terminal_there_are_a_bar_and_a_table(place: InstallationOnDisk) -> None:
    place.add("t1", state="failed", due_at_ms=_NEVER_MS, error="[bold]odd[/bold] \x1b[35mtext\x07", attempts=1)
    place.add("t2", database_name="../outside")
    shown = _on_terminal(place, "tenants", "provision")
    assert "making databases" in shown
    assert "1/1" in shown
    listed = _on_terminal(place, "tenants", "list")
    assert "tenant_id" in listed
    assert "[bold]odd[/bold]" in listed
    assert "\x1b[35m" not in listed
    assert "\x07" not in listed


def _on_terminal(place: InstallationOnDisk, *words: str) -> str:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [FREEHOLD, *words],
        cwd=place.data_dir.parent, env={**place.environ, "TERM": "xterm", "COLUMNS": "160"},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how the end of a terminal reads on Linux
        while part := os.read(ours, 65536):
            shown += part
    child.wait(30)
    os.close(ours)
    return shown.decode()
