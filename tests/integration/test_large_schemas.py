"""Large schemas go through diff, lint, test, provisioning, rollout and drift check without a false alarm."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from freehold.migrate.schema import Schema
from freehold.migrate.split import split
from freehold.registry.diff.difference import schema_of
from tests import schemas
from tests.support.fleet import Fleet, opened

_WAIVERS = "-- allow: FH109 no tenant of this app is on Turso's engine\n"
TENANTS = ("one", "two", "three")


async def declared(text: str) -> Schema:
    return await schema_of([piece.sql for piece in split(text)])


def _drafted(place: Fleet, folder: Path, name: str, text: str, *more: str) -> Path | None:
    """The next migration as `registry diff` writes it, with what only the author can say."""
    (folder.parent / "schema.sql").write_text(text)
    words = ("--schema", str(folder.parent / "schema.sql"), "--folder", str(folder), "--json", *more)
    done = place.run("registry", "diff", name, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["path"]
    if found is None:
        return None
    path = Path(found)
    head, why, body = path.read_text().partition("--\n-- Why: say it for the next person.\n")
    path.write_text(f"{head}{_WAIVERS}--\n-- Why: the app grows.\n{body}")
    assert why
    return path


def _released(place: Fleet, folder: Path, fixtures: Sequence[str]) -> None:
    """Seal, lint and test say nothing against it, and it is published."""
    (folder / "fixtures").mkdir(exist_ok=True)
    (folder / "fixtures/0001.sql").write_text(";\n".join(fixtures) + ";\n")
    engines = ("--engine", "sqlite", "--engine", "libsql")
    for words in (("seal",), ("lint",), ("test", str(folder), *engines), ("publish",)):
        done = place.run("registry", *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    linted = place.run("registry", "lint", "--json")
    findings = [json.loads(line) for line in linted.stdout.splitlines()]
    errors = [finding for finding in findings if finding.get("severity") == "error"]
    assert not errors, errors


def _checked(place: Fleet) -> None:
    done = place.run("tenants", "check", "--json")
    verdicts = {line["verdict"] for line in map(json.loads, done.stdout.splitlines())}
    assert (done.returncode, verdicts) == (0, {"same"}), (done.stdout, done.stderr)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "name"), [*(("local", name) for name in schemas.NAMES), ("sqld", "tracker")])
async def test_a_large_schema_goes_all_the_way_and_its_next_version_too(kind: str, name: str) -> None:
    one = await declared(schemas.first(name))
    assert sum(not table.is_virtual for table in one.tables.values()) >= 30
    fixtures = schemas.rows(one)
    with tempfile.TemporaryDirectory(prefix="large-") as base, opened(kind, Path(base) / "data") as place:
        folder = Path(base) / "registry"
        folder.mkdir()
        place.environ["SCHEMA_REGISTRY"] = str(folder)
        assert _drafted(place, folder, "begin", schemas.first(name))
        assert _drafted(place, folder, "nothing", schemas.first(name)) is None
        _released(place, folder, fixtures)
        place.provision(*TENANTS)
        for database in place.databases_of().values():
            place.script(database, ";\n".join(["BEGIN", *fixtures, "COMMIT;"]))
        _checked(place)
        plain = [table.name for table in one.tables.values() if not table.is_virtual]
        counts = {table: place.ask(place.databases_of()["one"], f'SELECT count(*) FROM "{table}"') for table in plain}

        assert _drafted(place, folder, "add", schemas.following(name))
        _drafted(place, folder, "change", schemas.following(name), "--min-app", "2.0")
        assert _drafted(place, folder, "nothing", schemas.following(name), "--check") is None
        _released(place, folder, fixtures)
        done = place.run("rollout", "start", "--wait", "--json")
        assert done.returncode == 0, (done.stdout, done.stderr)
        last = json.loads(done.stdout.splitlines()[-1])
        assert (last["migrated"], last["failed"], last["drifted"]) == (3, 0, 0), done.stdout
        place.provision("four")
        _checked(place)
        for tenant in TENANTS:
            database = place.databases_of()[tenant]
            assert {table: place.ask(database, f'SELECT count(*) FROM "{table}"') for table in plain} == counts
