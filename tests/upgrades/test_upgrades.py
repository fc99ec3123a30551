"""An installation made by an older version starts on this one with nothing lost and no step by hand.

The archives are whole folders as those versions left them, made by `make.py`; docs/upgrades.md says how to add one.
"""

import contextlib
import json
import sqlite3
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from freehold.dates import to_iso
from tests.e2e.people import Person, run_sql, sign_up
from tests.support.servers import Service, missing
from tests.support.sqld import BINARY
from tests.upgrades.make import HERE, KINDS

ARCHIVES = sorted(HERE.glob("*.tar.xz"))
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
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Upgraded]:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    facts = json.loads((tmp_path / "facts.json").read_text())
    if facts["kind"] == "dev-sqld" and not BINARY.exists():
        missing("sqld is not installed: run `make test` once")
    _as_if_made_today(tmp_path / "data")
    (tmp_path / "registry" / _NEXT).write_text(_NOTES)
    # It was sealed with a list of its files, to which this one has not been added.
    (tmp_path / "registry/registry.sum").unlink(missing_ok=True)
    service = Upgraded(tmp_path, facts)
    yield service
    service.stop()


def _as_if_made_today(data: Path) -> None:
    """Sessions end by themselves some days after they began; nothing else in an archive grows old."""
    central = data / "central.db"
    if not central.exists():
        central = data / "sqld/data/dbs/central/data"
    now = datetime.now(UTC)
    with contextlib.closing(sqlite3.connect(central)) as db:
        db.execute(
            "UPDATE session SET createdAt = ?1, updatedAt = ?1, expiresAt = ?2",
            (to_iso(now), to_iso(now + timedelta(days=7))),
        )
        db.commit()


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


def test_there_is_an_archive_of_each_kind() -> None:
    assert {path.name.removesuffix(".tar.xz").partition("-")[2] for path in ARCHIVES} == set(KINDS)
