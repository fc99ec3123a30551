"""`tenants check`: drift is told, and its repair repairs it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.test_provisioning_cli import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Three databases at the newest version, with an entry in each."""
    made = Place(tmp_path / "data")
    assert made.run("registry", "publish").returncode == 0
    for tenant_id in ("a", "b", "c"):
        made.add(tenant_id)
    assert made.run("tenants", "create", "--pending").returncode == 0
    for name in names(made).values():
        run(made, name, "INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at)"
            " VALUES ('e', 'w', 't', 'noun', 1, 1)",
            "INSERT INTO flashcards (id, dictionary_entry_id, direction, due, created_at, updated_at)"
            " VALUES ('f', 'e', 'forward', 1, 1, 1)")  # fmt: skip
    return made


def names(place: Place) -> dict[str, str]:
    return dict(place.rows("SELECT id, database_name FROM tenant"))


def run(place: Place, name: str, *statements: str) -> list[tuple[object, ...]]:
    [path] = (place.data_dir / "tenants").rglob(f"{name}.db")
    with closing(sqlite3.connect(path)) as db, db:
        return [row for sql in statements for row in db.execute(sql).fetchall()]


def verdicts(place: Place) -> dict[str, str]:
    done = place.run("tenants", "check", "--json")
    found = {line["tenant_id"]: line["verdict"] for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == (0 if set(found.values()) == {"same"} else 1), done.stderr
    return found


def test_databases_that_are_as_they_should_be_are_said_to_be(place: Place) -> None:
    assert verdicts(place) == {"a": "same", "b": "same", "c": "same"}
    done = place.run("tenants", "check")
    assert (done.returncode, done.stdout) == (0, "")
    assert "3 databases: none not as they should be" in done.stderr


def test_drift_is_told_and_the_repair_repairs_it_and_keeps_the_rows(place: Place) -> None:
    name = names(place)["b"]
    run(
        place,
        name,
        "DROP INDEX flashcards_due",
        "DROP TRIGGER revlog_added",
        "CREATE TABLE stray (x)",
        "ALTER TABLE decks ADD COLUMN colour TEXT",
        "ALTER TABLE dictionary_entries RENAME COLUMN root TO roots",
    )
    assert verdicts(place) == {"a": "same", "b": "drifted", "c": "same"}
    done = place.run("tenants", "check")
    assert done.returncode == 1
    for told in (
        "index flashcards_due is missing",
        "trigger revlog_added is missing",
        "table stray should not be there",
        "column decks.colour should not be there",
        "column dictionary_entries.root is missing",
        "column dictionary_entries.roots should not be there",
    ):
        assert f"{name} at version 9: {told}" in done.stderr
    [path] = (place.data_dir / "tenants").rglob(f"{name}.db")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.executescript(done.stdout)
    assert verdicts(place) == {"a": "same", "b": "same", "c": "same"}
    assert run(place, name, "SELECT word FROM dictionary_entries", "SELECT id FROM flashcards") == [
        ("w",),
        ("f",),
    ]


def test_another_history_and_an_unreadable_database_are_told_and_stop_nothing(place: Place) -> None:
    run(place, names(place)["a"], "UPDATE freehold_ledger SET chain = 'ab' WHERE version = 9")
    [path] = (place.data_dir / "tenants").rglob(f"{names(place)['b']}.db")
    path.write_bytes(b"not a database at all, " * 300)
    assert verdicts(place) == {"a": "diverged", "b": "unreadable", "c": "same"}
    assert "another history at version 9" in place.run("tenants", "check").stderr


def test_a_database_behind_is_compared_with_its_own_version(place: Place) -> None:
    name = names(place)["c"]
    run(place, name, "DROP INDEX flashcards_due", "DELETE FROM freehold_ledger WHERE version = 9")
    assert verdicts(place)["c"] == "same"
