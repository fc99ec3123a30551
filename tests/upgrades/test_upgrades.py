"""An installation made by an older version starts on this one with nothing lost and no step by hand.

The archives are whole folders as those versions left them, made by `make.py`; docs/upgrades.md says how to add one.
"""

import contextlib
import json
import re
import sqlite3
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.servers import ROOT, Service, missing
from testbed.sqld import BINARY

from freehold.dates import to_iso
from tests.e2e.people import Person, run_sql, sign_up
from tests.upgrades.make import HERE, KINDS

ARCHIVES = sorted(HERE.glob("*.tar.xz"))
# Releases are archived under their tag; the first one was cut afterwards.
NAMES = {"0.1.0": "97dc196"}
_NEXT = "0010_create_notes.sql"
_NOTES = "-- description: Notes\nCREATE TABLE notes (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL);\n"


class Upgraded(Service):
    """This version on an older one's folder."""

    starts_anew = True

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        more = {"SQLD_BINARY": str(BINARY)} if facts["kind"] == "dev-sqld" else {}
        super().__init__(folder, SCHEMA_REGISTRY=str(folder / "registry"), **more)
        self.facts = facts
        self.verb = KINDS[facts["kind"]]


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Upgraded]:
    """This version on the folder as that version left it."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    facts = json.loads((tmp_path / "facts.json").read_text())
    if facts["kind"] == "dev-sqld" and not BINARY.exists():
        missing("sqld is not installed: run `make test` once")
    _as_if_made_today(tmp_path / "data")
    service = Upgraded(tmp_path, facts)
    yield service
    service.stop()


@pytest.fixture
def old(left: Upgraded) -> Upgraded:
    """The same, with one more migration for users' databases."""
    (left.folder / "registry" / _NEXT).write_text(_NOTES)
    # It was sealed with a list of its files, to which this one has not been added.
    (left.folder / "registry/registry.sum").unlink(missing_ok=True)
    return left


def _central(data: Path) -> Path:
    """The file of the central database, where it was and where it is."""
    places = ("central.db", "sqld/central.db", "sqld/data/dbs/central/data")
    return next(data / place for place in places if (data / place).exists())


def _as_if_made_today(data: Path) -> None:
    """Sessions end by themselves some days after they began; nothing else in an archive grows old."""
    now = datetime.now(UTC)
    with contextlib.closing(sqlite3.connect(_central(data))) as db:
        db.execute(
            "UPDATE session SET createdAt = ?1, updatedAt = ?1, expiresAt = ?2",
            (to_iso(now), to_iso(now + timedelta(days=7))),
        )
        db.commit()


Rows = dict[str, list[dict[str, Any]]]


def _rows(path: Path) -> Rows:
    """Every row of every table of the file."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        tables = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        return {
            name: [dict(row) for row in db.execute(f'SELECT * FROM "{name}"')]
            for (name,) in tables.fetchall()
            if not name.startswith("libsql")
        }


def _lost(before: Rows, after: Rows) -> list[tuple[str, dict[str, Any]]]:
    """Rows that are not there any more as they were, by the columns that they had."""
    return [
        (table, row)
        for table, rows in before.items()
        for row in rows
        if not any(row.items() <= now.items() for now in after.get(table, []))
    ]


def _users_files(data: Path) -> list[Path]:
    return sorted([*data.glob("tenants/*/*/*.db"), *data.glob("sqld/data/dbs/t-*/data")])


def _person(old: Upgraded, who: str) -> Person:
    known = old.facts[who]
    return Person(old.url, known["email"], "", known["session"])


def _words(credentials: dict[str, Any]) -> list[str]:
    return [row[0] for row in run_sql(credentials, "SELECT word FROM dictionary_entries ORDER BY word")]


def test_people_and_their_rows_are_all_there(old: Upgraded) -> None:
    old.start()
    for who in ("ada", "ben", "guest"):
        person, known = _person(old, who), old.facts[who]
        session = httpx.get(f"{old.url}/api/auth/get-session", headers=person.headers, timeout=30).json()
        assert session["user"]["isAnonymous"] is (who == "guest")
        mine = person.credentials(60)
        assert mine["db_name"] == known["db_name"]
        assert _words(mine) == [known["word"]]
        run_sql(mine, "UPDATE dictionary_entries SET translation = 'y'")
    for who in ("ada", "ben"):
        body = {"email": old.facts[who]["email"], "password": old.facts["password"]}
        reply = httpx.post(f"{old.url}/api/auth/sign-in/email", json=body, timeout=30)
        assert reply.status_code == 200, reply.text
        again = Person(old.url, body["email"], "", reply.json()["token"])
        assert again.credentials(60)["db_name"] == old.facts[who]["db_name"]
    key = {"x-api-key": old.facts["api_key"]}
    read = httpx.get(f"{old.url}/databases/user", headers=key, timeout=30)
    assert read.status_code == 200, read.text
    assert read.json()["access_level"] == "read_only"
    assert _words(read.json()) == [old.facts["ada"]["word"]]


def test_no_row_of_any_database_is_lost_or_changed_by_starting(left: Upgraded) -> None:
    central, users = (_rows(_central(left.data_dir)), {file: _rows(file) for file in _users_files(left.data_dir)})
    keys = {path: path.read_bytes() for path in left.data_dir.rglob("*.pem")}
    assert len(users) == 3
    assert sum(map(len, central.values())) > 40
    left.start()
    assert httpx.get(f"{left.url}/ready", timeout=30).status_code == 200
    for who in ("ada", "ben", "guest"):
        _person(left, who).credentials(60)
    left.stop()
    # What says how far a database and its feed are, and where the trail ends, has moved on.
    moved = {"alembic_version", "audit_head"}
    lost = _lost(central, _rows(_central(left.data_dir)))
    assert [found for found in lost if found[0] not in moved] == []
    assert [(file, lost) for file, rows in users.items() if (lost := _lost(rows, _rows(file)))] == []
    assert {path: path.read_bytes() for path in keys} == keys


def test_migrations_go_on_from_where_they_were(old: Upgraded) -> None:
    old.start()
    pulled = httpx.get(f"{old.url}/migrations", params={"after": 9}, timeout=30).json()
    assert [each["version"] for each in pulled["migrations"]] == [10]
    newcomer = sign_up(old.url, "newcomer@example.com").credentials(60)
    assert newcomer["schema_version"] == 10
    assert run_sql(newcomer, "SELECT count(*) FROM notes") == [["0"]]
    if old.facts["kind"] == "embedded":  # commands work beside it; `dev sqld` has ports that only it knows
        done = old.run("tenants", "migrate", "ada@example.com")
        assert done.returncode == 0, done.stderr
        mine = _person(old, "ada").credentials(60)
        assert mine["schema_version"] == 10
        assert _words(mine) == [old.facts["ada"]["word"]]
        assert run_sql(mine, "SELECT count(*) FROM notes") == [["0"]]
        done = old.run("tenants", "check")
        assert done.returncode == 0, (done.stdout, done.stderr)
        done = old.run("audit", "verify")
        assert done.returncode == 0, (done.stdout, done.stderr)


def test_it_is_the_same_after_being_killed_and_started_once_more(old: Upgraded) -> None:
    old.start()
    late = sign_up(old.url, "late@example.com")
    old.kill()
    old.start()
    assert late.credentials(60)["db_name"] != _person(old, "ben").credentials(60)["db_name"]
    assert _words(_person(old, "ben").credentials(60)) == [old.facts["ben"]["word"]]
    if old.facts["kind"] == "dev-sqld":  # the central database has left the process that runs people's SQL
        assert (old.data_dir / "sqld/central.db").is_file()
        assert old.log().count("central.moved") == 1


def test_there_is_an_archive_of_each_release_and_kind() -> None:
    releases = re.findall(r"^## (\d\S+) - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases
    wanted = {f"{NAMES.get(release, f'v{release}')}-{kind}" for release in releases for kind in KINDS}
    assert wanted <= {path.name.removesuffix(".tar.xz") for path in ARCHIVES}
