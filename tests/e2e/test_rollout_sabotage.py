"""One user harms their own database before a rollout: it goes on for everybody else, and says what happened."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from testbed.servers import Service
from testbed.sqld import running_sqld
from testbed.sqld_service import sqld_variables

from tests.e2e.people import Person, run_sql, sign_up

FIRST = "CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT);\nCREATE TABLE notes (id INTEGER PRIMARY KEY);\n"
SECOND = "ALTER TABLE words ADD COLUMN remark TEXT;\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "0001_add_words.sql").write_text(FIRST)
    return folder


@pytest.fixture(params=["local", "sqld"])
def service(request: pytest.FixtureRequest, tmp_path: Path, files: Path) -> Iterator[Service]:
    variables = {"SCHEMA_REGISTRY": str(files), "DATABASE_TOKEN_PROFILE": "full", "TENANT_MAX_SIZE_MB": "2"}
    if request.param == "local":
        service = Service(tmp_path / "service", **variables)
        try:
            yield service.start()
        finally:
            service.stop()
        return
    with running_sqld() as sqld:
        variables |= {**sqld_variables(sqld), "BETTER_AUTH_SECRET": "s" * 40}
        service = Service(tmp_path / "service", **variables)
        try:
            yield service.start()
        finally:
            service.stop()


def columns(person: Person) -> list[str]:
    rows = run_sql(person.credentials(), "SELECT name FROM pragma_table_info('words')")
    return [name for (name,) in rows]


def test_a_user_who_drops_a_table_of_the_app_does_not_pause_the_rollout(service: Service, files: Path) -> None:
    people = [sign_up(service.url) for _ in range(4)]
    hostile, *others = people
    for person in people:
        run_sql(person.credentials(), "INSERT INTO words (word) VALUES ('kitab')")
    run_sql(hostile.credentials(), "DROP TABLE words")
    (files / "0002_add_remark.sql").write_text(SECOND)
    assert service.run("registry", "publish").returncode == 0

    canary = ("--canary", hostile.email)
    done = service.run("rollout", "start", *canary, "--wave", "50%", "--wait", "--json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    drifted, last = map(json.loads, done.stdout.splitlines())
    assert (last["tenants"], last["migrated"], last["failed"], last["drifted"]) == (4, 3, 0, 1)
    assert (drifted["cause"], drifted["tenants"]) == ("drifted", 1)
    assert "table words is missing" in drifted["error"]
    for person in others:
        assert columns(person) == ["id", "word", "remark"]
        assert run_sql(person.credentials(), "SELECT word FROM words") == [["kitab"]]

    status = service.run("rollout", "status")
    assert status.returncode == 0
    assert "1 drifted" in status.stdout
    assert "freehold tenants check" in status.stdout
    plan = json.loads(service.run("rollout", "plan", "--json").stdout)
    assert (plan["tenants"], plan["drifted"]) == (1, 1)

    checked = service.run("tenants", "check", hostile.email)
    assert (checked.returncode, "table words is missing" in checked.stderr) == (1, True)
    run_sql(hostile.credentials(), *[line for line in checked.stdout.splitlines() if "CREATE TABLE" in line])
    again = service.run("rollout", "start", "--wait", "--json")
    assert again.returncode == 0, (again.stdout, again.stderr)
    assert json.loads(again.stdout.splitlines()[-1])["migrated"] == 1
    assert columns(hostile) == ["id", "word", "remark"]


def test_a_user_who_fills_their_database_does_not_pause_the_rollout(service: Service, files: Path) -> None:
    people = [sign_up(service.url) for _ in range(3)]
    hostile, *others = people
    credentials = hostile.credentials()
    for size in (400_000, 20_000, 3_000, 500, 10):
        with contextlib.suppress(httpx.HTTPStatusError, AssertionError):
            for _ in range(200):
                run_sql(credentials, f"INSERT INTO words (word) VALUES (hex(randomblob({size})))")
    (files / "0002_add_remark.sql").write_text(
        f"{SECOND}CREATE TABLE more (id INTEGER PRIMARY KEY);\nCREATE TABLE most (id INTEGER PRIMARY KEY);\n"
    )
    assert service.run("registry", "publish").returncode == 0
    done = service.run("rollout", "start", "--canary", hostile.email, "--wait", "--json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    full, last = map(json.loads, done.stdout.splitlines())
    assert (last["tenants"], last["migrated"], last["failed"], last["drifted"]) == (3, 2, 0, 1)
    assert (full["cause"], full["tenants"]) == ("full", 1)
    assert "of the room for it is taken" in full["error"]
    for person in others:
        assert columns(person) == ["id", "word", "remark"]
    run_sql(credentials, "DELETE FROM words WHERE id % 2")
    again = service.run("rollout", "start", "--wait", "--json")
    assert again.returncode == 0, (again.stdout, again.stderr)
    assert columns(hostile) == ["id", "word", "remark"]
