"""A database that a power failure closed: what its user, the operator and everybody else see, and its repair."""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.servers import Service
from testbed.sqld import Sqld, running_sqld
from testbed.sqld_service import sqld_variables

from tests.e2e.people import Person, run_sql, sign_up
from tests.e2e.replica import replica

_METRICS_TOKEN = "m" * 40


@pytest.fixture
def sqld() -> Iterator[Sqld]:
    with running_sqld() as running:
        yield running


@pytest.fixture
def service(sqld: Sqld, tmp_path: Path) -> Iterator[Service]:
    variables = {**sqld_variables(sqld), "SQLD_DATA_DIR": str(sqld.folder / "data"), "METRICS_TOKEN": _METRICS_TOKEN}
    service = Service(tmp_path / "service", **variables).start()
    yield service
    service.stop()


def _power_fails(sqld: Sqld, name: str, lost_bytes: int) -> None:
    """What was written and not synced is gone: of all the files, the end of this log."""
    sqld.kill()
    log = sqld.folder / "data/dbs" / name / "wallog"
    os.truncate(log, log.stat().st_size - lost_bytes)
    sqld.start()


def _answer(mine: dict[str, Any], sql: str) -> httpx.Response:
    return httpx.post(
        f"{mine['url']}v3/pipeline",
        headers={"authorization": f"Bearer {mine['access_token']}"},
        json={"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]},
        timeout=30,
    )


def _ready(service: Service, **headers: str) -> dict[str, Any]:
    until = time.monotonic() + 20
    while (reply := httpx.get(f"{service.url}/ready", headers=headers, timeout=30)).status_code != 200:
        assert time.monotonic() < until, reply.text  # sqld has just been started again
        time.sleep(0.05)
    told: dict[str, Any] = reply.json()
    assert told.pop("sqld", "unsupervised") == "unsupervised"  # nobody starts this one again, as tests do that
    return told


def _operator(service: Service) -> dict[str, Any]:
    return _ready(service, authorization=f"Bearer {_METRICS_TOKEN}")


def _filled(service: Service) -> tuple[Person, dict[str, Any]]:
    person = sign_up(service.url)
    mine = person.credentials()
    for number in range(10):
        run_sql(mine, _card(f"{number}"))
    return person, mine


def _card(word: str) -> str:
    return (
        "INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at)"
        f" VALUES ('{word}', '{word}', 'x', 'noun', 0, 0)"
    )


def test_one_closed_database_is_named_and_repaired_while_all_others_are_served(
    service: Service, sqld: Sqld, tmp_path: Path
) -> None:
    people = [_filled(service) for _ in range(4)]
    (person, mine), *others = people
    name = mine["db_name"]
    file = tmp_path / "replica.db"
    counted = "select count(*) from dictionary_entries"
    assert replica(file, mine["url"], mine["access_token"], "sync", counted)[1] == [[10]]
    _power_fails(sqld, name, 4120 * 3 + 7)

    # Its user is told what it is, in words and by a code of its own.
    assert _ready(service) == {"status": "ready"}
    _ready(service)  # connections of before are gone now
    reply = _answer(mine, "SELECT 1")
    assert (reply.status_code, reply.json()["code"]) == (503, "DATABASE_DAMAGED")
    assert "operator" in reply.json()["message"]
    assert "retry-after" in reply.headers
    reply = httpx.get(f"{service.url}/databases/user", headers=person.headers, timeout=30)
    assert (reply.status_code, reply.json()["code"]) == (503, "database_damaged")
    refused = replica(file, mine["url"], mine["access_token"], "sync")[0]
    assert isinstance(refused, str), refused
    for _, their in others:
        assert run_sql(their, "SELECT count(*) FROM dictionary_entries") == [["10"]]

    # The operator learns which; nobody else does, and the service is ready all the same.
    assert _ready(service) == {"status": "ready", "damaged": 1}
    assert _operator(service) == {"status": "ready", "damaged": 1, "damaged_databases": [name]}
    metrics = httpx.get(f"{service.url}/metrics", headers={"authorization": f"Bearer {_METRICS_TOKEN}"}).text
    assert "freehold_databases_damaged 1.0" in metrics
    assert name not in metrics
    [line] = [each for each in service.log().splitlines() if '"database.damaged"' in each]
    assert json.loads(line)["database"] == name
    checked = service.run("tenants", "check", "--json")
    assert checked.returncode == 1
    verdicts = {each["database_name"]: each for each in map(json.loads, checked.stdout.splitlines())}
    assert {each["verdict"] for each in verdicts.values()} == {"same", "damaged"}
    assert verdicts[name]["verdict"] == "damaged"
    reconciled = service.run("tenants", "reconcile", "--dry-run")
    assert (reconciled.returncode, "tenants repair" in reconciled.stderr) == (1, True), reconciled

    # Looking changes nothing; repairing sets aside one file.
    folder = sqld.folder / "data/dbs" / name
    before = {path.name: path.stat().st_size for path in folder.iterdir()}
    done = service.run("tenants", "repair", "--all-broken", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"{name}: would repair" in done.stdout
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == before
    done = service.run("tenants", "repair", "--all-broken", "--json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    [told] = map(json.loads, done.stdout.splitlines())
    assert (told["database_name"], told["outcome"], told["is_well"]) == (name, "repaired", True)
    assert told["rows"] == told["rows_before"] > 10
    [aside] = told["set_aside"]
    assert (folder / aside).stat().st_size == before["wallog"]

    # Everything is there and works again: gateway, new credentials, the old replica and a new one.
    assert run_sql(mine, "SELECT count(*) FROM dictionary_entries") == [["10"]]
    run_sql(person.credentials(), _card("after"))
    synced = replica(file, mine["url"], mine["access_token"], "sync", "sync", counted)
    assert synced[-1] == [[11]], synced
    fresh = replica(tmp_path / "new.db", mine["url"], mine["access_token"], "sync", counted)
    assert fresh[-1] == [[11]], fresh
    for _, their in others:
        assert run_sql(their, "SELECT count(*) FROM dictionary_entries") == [["10"]]
    _until(lambda: _operator(service) == {"status": "ready"})
    assert service.run("tenants", "check").returncode == 0
    trail = service.run("audit", "list", "--json", "--action", "tenant.repaired")
    [entry] = map(json.loads, trail.stdout.splitlines())
    assert entry["actor"].startswith("operator:")
    assert entry["details"]["database"] == name
    again = service.run("tenants", "repair", "--all-broken", "--json")
    assert (again.returncode, again.stdout) == (0, "")
    again = service.run("tenants", "repair", name)
    assert again.returncode == 0, again.stderr
    assert f"{name}: sound" in again.stdout


def test_sqld_may_be_stopped_and_what_is_open_is_left_alone(service: Service, sqld: Sqld) -> None:
    _, mine = _filled(service)
    name = mine["db_name"]
    folder = sqld.folder / "data/dbs" / name
    sqld.kill()
    os.truncate(folder / "wallog", 100)
    done = service.run("tenants", "repair", name)
    assert done.returncode == 0, done.stderr
    assert "set aside" in done.stdout
    assert "start sqld" in done.stdout
    with sqlite3.connect(folder / "data") as db:  # another program has it open
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (folder / "wallog").write_bytes(b"no log")
        done = service.run("tenants", "repair", name)
        assert done.returncode == 1
        assert "stop it and try again" in done.stderr
        assert (folder / "wallog").read_bytes() == b"no log"
    db.close()
    (folder / "wallog").unlink()
    sqld.start()
    done = service.run("tenants", "repair", name)
    assert done.returncode == 0, done.stderr
    assert "sound" in done.stdout
    _ready(service)
    assert run_sql(mine, "SELECT count(*) FROM dictionary_entries") == [["10"]]


def test_what_is_missing_for_a_repair_is_said(service: Service, sqld: Sqld, tmp_path: Path) -> None:
    assert service.run("tenants", "repair").returncode == 2
    assert service.run("tenants", "repair", "--all-broken", "x@example.com").returncode == 2
    done = service.run("tenants", "repair", "--all-broken", SQLD_DATA_DIR="")
    assert done.returncode == 3
    assert "SQLD_DATA_DIR" in done.stderr
    _, mine = _filled(service)
    _power_fails(sqld, mine["db_name"], 1)
    done = service.run("tenants", "repair", mine["db_name"], SQLD_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "is SQLD_DATA_DIR the folder of this sqld?" in done.stderr
    done = service.run("tenants", "repair", "nobody@example.com", mine["db_name"], "--json")
    assert done.returncode == 1
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["code"], second["outcome"]) == ("not_found", "repaired")


def _until(is_so: Callable[[], bool], limit_s: float = 30.0) -> None:
    until = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.1)
