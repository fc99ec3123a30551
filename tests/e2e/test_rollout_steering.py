"""A rollout that does not go well, by command: what it says, how it is tried again, and how tenants go back."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from testbed.servers import Service

from tests.e2e.people import Person, run_sql, sign_up

FIRST = "CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT);\n"
# Duplicates, gaps and long words do not fit.
SECOND = """-- foreign_keys: off
CREATE TABLE new_words (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE CHECK (length(word) < 20));
INSERT INTO new_words (id, word) SELECT id, word FROM words;
DROP TABLE words;
ALTER TABLE new_words RENAME TO words;
"""
THIRD = "ALTER TABLE words ADD COLUMN remark TEXT;\n"
_WORDS = "SELECT word FROM words ORDER BY id"
_SPOILT = {
    "UNIQUE constraint failed": "UPDATE words SET word = 'kitab'",
    "NOT NULL constraint failed": "UPDATE words SET word = NULL WHERE id = 1",
    "CHECK constraint failed": "UPDATE words SET word = 'a word that is much too long' WHERE id = 1",
}
_REPAIR = "UPDATE words SET word = 'word' || id"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "0001_add_words.sql").write_text(FIRST)
    return folder


@pytest.fixture
def service(tmp_path: Path, files: Path) -> Iterator[Service]:
    service = Service(tmp_path / "service", SCHEMA_REGISTRY=str(files), RATE_LIMITS="off")
    try:
        yield service.start()
    finally:
        service.stop()


def people(service: Service, count: int) -> list[Person]:
    found = [sign_up(service.url) for _ in range(count)]
    for person in found:
        run_sql(person.credentials(), "INSERT INTO words (word) VALUES ('kitab'), ('qalam')")
    return found


def publish(service: Service, files: Path, version: int, sql: str) -> None:
    (files / f"{version:04}_step_{version}.sql").write_text(sql)
    done = service.run("registry", "publish")
    assert done.returncode == 0, done.stderr


def told(service: Service, *words: str, code: int = 0) -> str:
    done = service.run("rollout", *words)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def lines(service: Service, *words: str, code: int = 0) -> list[dict[str, Any]]:
    done = service.run("rollout", *words, "--json")
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_failures_are_told_by_cause_and_tried_again_after_the_end(service: Service, files: Path) -> None:
    assert "nobody is behind version 1" in told(service, "start")
    [nothing] = lines(service, "start", "--wait")
    assert (nothing["rollout_id"], nothing["to"], nothing["tenants"], nothing["migrated"]) == (None, 1, 0, 0)
    told(service, "status", code=1)  # none was made

    persons = people(service, 4)
    for person, spoil in zip(persons, _SPOILT.values(), strict=False):
        run_sql(person.credentials(), spoil)
    publish(service, files, 2, SECOND)
    for wrong in ("SELEC 1", "SELECT count(*) FROM worts", "BEGIN"):
        assert "health query" in told(service, "start", "--health", wrong, "--wait", code=1)
    told(service, "status", code=1)

    options = ("--wave", "100%", "--budget", "3", "--health", "SELECT count(*) >= 0 FROM words")
    *failures, last = lines(service, "start", "--wait", *options, code=1)
    assert (last["migrated"], last["failed"]) == (1, 3)
    assert [each["tenants"] for each in failures] == [1, 1, 1]
    for cause in _SPOILT:
        assert sum(cause in each["error"] for each in failures) == 1
    status = told(service, "status", code=1)
    assert all(cause in status for cause in _SPOILT)
    assert "is done" in status

    # It has ended, within its budget; they are tried again all the same.
    run_sql(persons[0].credentials(), _REPAIR)
    assert "3 tenants will be retried" in told(service, "retry", "--failed")
    assert "3 wait to be retried" in told(service, "retry", "--failed")
    assert "3 are to be tried again" in told(service, "status", code=1)
    assert "no worker is at work on it; start one with: freehold rollout work" in told(service, "resume")
    assert "until Monday" in told(service, "pause", "--reason", "support is away until Monday")
    assert "until Monday" in told(service, "pause")
    assert lines(service, "status", code=1)[0]["rollout"]["reason"] == "support is away until Monday"
    assert lines(service, "resume", "--wait", code=1)[-1]["failed"] == 2

    # Once more, after a newer release; and not while another rollout is open.
    for person in persons:
        run_sql(person.credentials(), _REPAIR)
    publish(service, files, 3, THIRD)
    old = last["rollout_id"]
    assert lines(service, "start", "--to", "3")[0]["tenants"] == 4
    assert "another rollout" in told(service, "retry", old, "--failed", code=1)
    told(service, "abort", "--yes")
    assert "3 is the newest by now" in told(service, "retry", old, "--failed")
    assert lines(service, "resume", old, "--wait")[-1]["migrated"] == 4
    assert "there is nothing to retry" in told(service, "retry", old, "--failed")
    assert lines(service, "retry", old, "--failed") == [{"rollout_id": old, "retried": 0, "pending": 0}]
    told(service, "resume", old, code=1)
    assert lines(service, "start", "--wait")[-1]["migrated"] == 4
    assert [run_sql(each.credentials(), "SELECT remark FROM words") for each in persons] == [[[None]] * 2] * 4


def test_a_new_rollout_takes_along_what_was_to_be_tried_again(service: Service, files: Path) -> None:
    [spoilt, *_] = people(service, 2)
    run_sql(spoilt.credentials(), _SPOILT["UNIQUE constraint failed"])
    publish(service, files, 2, SECOND)
    *_, last = lines(service, "start", "--wait", "--budget", "1", code=1)
    run_sql(spoilt.credentials(), _REPAIR)
    told(service, "retry", "--failed")
    assert lines(service, "start", "--wait")[-1]["migrated"] == 1
    [before] = lines(service, "status", last["rollout_id"], code=1)
    assert (before["counts"]["pending"], before["counts"]["failed"]) == (0, 1)


def test_tenants_go_back_by_command_and_what_they_wrote_since_is_kept(
    service: Service, files: Path, tmp_path: Path
) -> None:
    one, two = people(service, 2)
    publish(service, files, 2, SECOND)
    assert "MB of restore points" in told(service, "plan")
    told(service, "start", "--wait", "--restore-points", "--keep-days", "3")
    before = one.credentials()
    run_sql(before, "INSERT INTO words (word) VALUES ('since')")
    status = told(service, "status")
    assert "2 restore points, kept until 20" in status
    assert "freehold rollout restore" in status
    [kept] = lines(service, "status")
    assert kept["kept"]["restore_points"] == 2

    told(service, "restore", code=2)
    told(service, "restore", one.email, "--all", code=2)
    assert "--yes" in told(service, "restore", one.email, code=2)  # nobody to ask
    [point] = lines(service, "restore", one.email, "--dry-run")
    assert (point["state"], point["version"]) == ("migrated", 2)
    assert run_sql(before, _WORDS) == [["kitab"], ["qalam"], ["since"]]

    [done] = lines(service, "restore", one.email, "--yes")
    assert (done["outcome"], done["version"], done["kept_as"]) == ("restored", 1, before["db_name"])
    with pytest.raises(AssertionError, match="BAD_DATABASE_TOKEN"):
        run_sql(before, _WORDS)  # the old token would write where nobody looks
    assert run_sql(one.credentials(), _WORDS) == [["kitab"], ["qalam"]]
    exported = service.run("tenants", "export", done["kept_as"], str(tmp_path / "aside.db"))
    assert exported.returncode == 0, exported.stderr
    with closing(sqlite3.connect(tmp_path / "aside.db")) as db:
        assert db.execute(_WORDS).fetchall() == [("kitab",), ("qalam",), ("since",)]
    [again] = lines(service, "restore", one.email, "--yes")
    assert again["outcome"] == "unchanged"

    assert "1 that were taken back; --include-restored" in told(service, "start")
    assert "left out: 1 restored" in told(service, "plan")
    outcomes = [each["outcome"] for each in lines(service, "restore", "--all", "--yes")]
    assert sorted(outcomes) == ["restored", "unchanged"]
    listed = {each["tenant_id"]: each["state"] for each in lines(service, "restore", "--all", "--dry-run")}
    assert (len(listed), set(listed.values())) == (2, {"restored"})
    assert lines(service, "restore", "--failed", "--yes") == []
    assert run_sql(two.credentials(), _WORDS) == [["kitab"], ["qalam"]]
    assert lines(service, "start", "--wait", "--include-restored")[-1]["migrated"] == 2
    [freed] = lines(service, "discard", done["tenant_id"], code=1) or [{}]
    assert freed == {}
    assert lines(service, "discard", kept["rollout"]["rollout_id"], "--yes")[0]["discarded"] == 4
