"""An app changes its full-text tables: devices apply what `registry diff` wrote, and every row is found."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed.servers import Service
from testbed.sqld import running_sqld
from testbed.sqld_service import sqld_variables

from freehold.client import FreeholdClient
from tests.e2e.attack_world import HOMES
from tests.e2e.people import PASSWORD, run_sql, sign_up

FIRST = """CREATE VIRTUAL TABLE place USING fts5(name, ref UNINDEXED, tokenize='unicode61');
CREATE VIRTUAL TABLE box USING rtree(id, west, east);
CREATE TABLE letter (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL);
CREATE VIRTUAL TABLE letter_text USING fts5(body, content='letter');
CREATE TRIGGER letter_ai AFTER INSERT ON letter BEGIN
  INSERT INTO letter_text (rowid, body) VALUES (new.rowid, new.body);
END;
"""
NEXT = [
    ("tokenize='unicode61'", "tokenize='trigram'"),
    ("name, ref", "name, kind, ref"),
    ("rtree(id, west, east)", "rtree(id, west, east, +label)"),
    ("content='letter'", "content='letter', tokenize='porter'"),
    ("body TEXT NOT NULL)", "body TEXT NOT NULL, sent INTEGER UNIQUE)"),
]
ROWS = (
    "INSERT INTO place (rowid, name, ref) VALUES (7, 'Lisboa', 'r1'), (9, 'Porto', 'r2')",
    "INSERT INTO box VALUES (3, 1.5, 2.5)",
    "INSERT INTO letter (rowid, id, body) VALUES (4, 'a', 'running'), (6, 'b', 'walking')",
    "DELETE FROM letter WHERE id = 'c'",
)


@pytest.fixture(params=HOMES)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    registry = tmp_path / "registry"
    registry.mkdir()
    if request.param == "local":
        service = Service(tmp_path, SCHEMA_REGISTRY=str(registry))
        yield service
        service.stop()
        return
    with running_sqld() as sqld:
        service = Service(tmp_path, SCHEMA_REGISTRY=str(registry), **sqld_variables(sqld))
        yield service
        service.stop()


def _drafted(service: Service, registry: Path, name: str, declared: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(declared)
        file.flush()
        done = service.run("registry", "diff", name, "--schema", file.name, "--folder", str(registry))
    assert done.returncode == 0, done.stderr


async def test_rows_are_found_after_a_device_has_applied_the_change(service: Service, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    _drafted(service, registry, "begin", FIRST)
    assert service.run("registry", "publish").returncode == 0
    service.start()
    person = sign_up(service.url)
    mine = person.credentials()
    run_sql(mine, *ROWS)
    declared = FIRST
    for old, new in NEXT:
        assert old in declared
        declared = declared.replace(old, new)
    _drafted(service, registry, "change", declared)
    done = service.run("registry", "publish")
    assert done.returncode == 0, done.stderr
    async with FreeholdClient(person.url) as freehold:
        await freehold.sign_in(person.email, PASSWORD)
        assert (await freehold.migrate()).applied == (2,)
    assert run_sql(mine, "SELECT rowid, ref FROM place WHERE place MATCH 'ort'") == [["9", "r2"]]
    assert run_sql(mine, "SELECT id, east, label FROM box") == [["3", 2.5, None]]
    assert run_sql(mine, "SELECT rowid FROM letter_text WHERE letter_text MATCH 'run'") == [["4"]]
    assert run_sql(mine, "SELECT rowid, id FROM letter ORDER BY 1") == [["4", "a"], ["6", "b"]]
    checked = service.run("tenants", "check")
    assert checked.returncode == 0, (checked.stdout, checked.stderr)
