"""Tenants' life as operators lead it: by command, over HTTP and by the scripts, on a running service."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.servers import ROOT, Service

from freehold.providers.local.files import TenantFiles
from tests.e2e.people import Person, run_sql, sign_up

_WORD = """INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at)
VALUES ('{0}', '{0}', 'x', 'noun', 1, 1)"""
_WORDS = "SELECT word FROM dictionary_entries ORDER BY word"
_PASSWORD = "a-long-password-2"


@dataclass
class Office:
    """A running service, and an administrator."""

    service: Service
    admin: httpx.Client
    people: int = 0

    def person(self) -> tuple[Person, dict[str, Any]]:
        self.people += 1
        person = sign_up(self.service.url, f"p{self.people}@example.com")
        credentials = person.credentials()
        run_sql(credentials, _WORD.format("before"))
        return person, credentials

    def json(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        done = self.service.run("tenants", *words, "--json")
        assert done.returncode == code, (done.stdout, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    service = Service(tmp_path_factory.mktemp("office"), RATE_LIMITS="off").start()
    made = service.run("users", "create-admin", "root@example.com", "--password-stdin", stdin=_PASSWORD + "\n")
    assert made.returncode == 0, made.stderr
    admin = httpx.Client(base_url=service.url, timeout=30)
    reply = admin.post("/api/auth/sign-in/email", json={"email": "root@example.com", "password": _PASSWORD})
    admin.headers["authorization"] = f"Bearer {reply.json()['token']}"
    admin.cookies.clear()
    try:
        yield Office(service, admin)
    finally:
        admin.close()
        service.stop()


def asked(person: Person) -> httpx.Response:
    return httpx.get(f"{person.url}/databases/user", headers=person.headers, timeout=10)


def words(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return [word for (word,) in db.execute(_WORDS)]


def in_file(office: Office, credentials: dict[str, Any], *statements: str) -> None:
    """Change a tenant's database behind everybody's back, as no token may."""
    path = TenantFiles(office.service.data_dir / "tenants").path_of(credentials["db_name"])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for sql in statements:
            db.execute(sql)


def test_a_life_by_command(office: Office, tmp_path: Path) -> None:
    person, credentials = office.person()
    [shown] = office.json("show", person.email)
    assert (shown["state"], shown["is_there"], shown["is_refusing"]) == ("ready", True, False)
    tenant_id = shown["tenant_id"]

    [suspended] = office.json("suspend", person.email, "--reason", "unpaid")
    assert (suspended["state"], suspended["error"]) == ("suspended", "unpaid")
    refused = asked(person)
    assert (refused.status_code, refused.json()["code"]) == (403, "database_suspended")
    assert refused.json()["reason"] == "unpaid"
    assert "unpaid" in refused.json()["detail"]
    with pytest.raises(Exception, match="BLOCKED"):  # the service is another process than the command
        run_sql(credentials, "SELECT 1")
    assert office.json("show", tenant_id)[0]["is_refusing"]

    file = tmp_path / "mine.db"
    office.json("export", tenant_id, str(file))
    assert words(file) == ["before"]
    assert office.service.run("tenants", "export", tenant_id, str(file)).returncode == 2
    assert [each.name for each in tmp_path.iterdir()] == ["mine.db"]

    [resumed] = office.json("resume", tenant_id)
    assert resumed["state"] == "ready"
    run_sql(credentials, _WORD.format("later"))
    [fork] = office.json("fork", tenant_id)
    assert office.json("show", fork["tenant_id"])[0]["is_there"]

    assert office.service.run("tenants", "restore", tenant_id, str(file)).returncode == 2  # nobody to ask
    assert office.json("restore", tenant_id, str(file), "--dry-run")[0]["changed"] == []
    [restored] = office.json("restore", tenant_id, str(file), "--yes")
    assert restored["database_name"] != credentials["db_name"]
    assert run_sql(person.credentials(), _WORDS) == [["before"]]
    with pytest.raises(Exception, match=r"404|NOT_FOUND|does not exist"):
        run_sql(credentials, "SELECT 1")

    assert office.json("delete", tenant_id, fork["tenant_id"], "--dry-run")
    gone = office.json("delete", tenant_id, fork["tenant_id"], "--yes")
    assert [each["state"] for each in gone] == ["deleted", "deleted"]
    refused = asked(person)
    assert (refused.status_code, refused.json()["code"]) == (410, "database_deleted")
    assert office.json("show", tenant_id, code=1)[0]["is_there"] is False

    [made] = office.json("create", person.email)
    assert (made["tenant_id"], made["state"], made["schema_version"] > 0) == (tenant_id, "ready", True)
    assert run_sql(person.credentials(), _WORDS) == []
    assert office.json("create", tenant_id) == [made]
    office.json("delete", tenant_id, "--yes")
    [back] = office.json("restore", person.email, str(file), "--yes")
    assert (back["tenant_id"], back["state"]) == (tenant_id, "ready")
    assert run_sql(person.credentials(), _WORDS) == [["before"]]
    assert office.json("create", "nobody@example.com", code=1)[0]["code"] == "not_found"
    assert office.json("create", fork["tenant_id"], code=1)[0]["code"] == "not_found"
    assert office.service.run("tenants", "create").returncode == 2
    assert office.service.run("tenants", "create", person.email, "--pending").returncode == 2


def test_a_moment_that_is_not_kept_is_refused_and_nothing_changes(office: Office, tmp_path: Path) -> None:
    person, credentials = office.person()
    before = office.json("show", person.email)

    def restore(*words: str) -> tuple[int, str]:
        done = office.service.run("tenants", "restore", person.email, *words, "--yes")
        return done.returncode, done.stderr

    (tmp_path / "any.db").touch()
    at = ("--at", "2026-01-31T10:20:30Z")
    for wrong in (
        [],
        [str(tmp_path / "any.db"), *at],
        ["--accept-changes", *at],
        ["--at", "yesterday"],
        ["--at", "2026-01-31T10:20:30"],
        ["--at", "0001-01-01T00:00:00+14:00"],
    ):
        assert restore(*wrong)[0] == 2, wrong
    assert office.service.run("tenants", "restore", person.email, *at).returncode == 2  # nobody to ask
    assert restore("--at", "9999-01-31T10:20:30Z")[0] == 1
    code, text = restore(*at)
    assert code == 1
    assert "restore from an export" in text
    assert office.json("restore", person.email, *at, "--dry-run")[0]["at"] == "2026-01-31T10:20:30+00:00"
    assert office.json("show", person.email) == before
    assert run_sql(credentials, _WORDS) == [["before"]]


def test_several_at_once_and_one_that_fails(office: Office) -> None:
    (first, _), (second, _) = office.person(), office.person()
    found = office.json("suspend", first.email, "nobody@example.com", second.email, code=1)
    assert [each.get("state") or each["code"] for each in found] == ["suspended", "not_found", "suspended"]
    done = office.service.run("tenants", "resume", first.email, second.email)
    assert (done.returncode, done.stderr.strip()) == (0, "2 done, 0 failed")
    assert office.service.run("tenants", "migrate").returncode == 2
    assert office.json("migrate", first.email)[0]["schema_version"] > 0


def test_a_life_over_http(office: Office, tmp_path: Path) -> None:
    person, credentials = office.person()
    path = f"/admin/tenants/{person.email}"
    tenant = office.admin.get(path).json()
    assert (tenant["user_id"], tenant["state"]) == (person.user_id, "ready")

    suspended = office.admin.post(f"{path}/suspend", json={"reason": "unpaid"})
    assert (suspended.status_code, suspended.json()["state"]) == (200, "suspended")
    with pytest.raises(Exception, match="unpaid"):
        run_sql(credentials, "SELECT 1")
    migrated = office.admin.post(f"{path}/migrate")
    assert (migrated.status_code, migrated.json()["code"]) == (409, "wrong_state")
    exported = office.admin.get(f"{path}/export")
    assert exported.headers["content-disposition"].endswith(f'{credentials["db_name"]}.db"')
    file = tmp_path / "mine.db"
    file.write_bytes(exported.content)
    assert words(file) == ["before"]
    assert office.admin.post(f"{path}/resume").json()["state"] == "ready"

    run_sql(credentials, _WORD.format("later"))
    refused = office.admin.post(f"{path}/restore", content=b"not a database" * 1000)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_backup")
    restored = office.admin.post(f"{path}/restore", content=file.read_bytes())
    assert restored.status_code == 200, restored.text
    assert restored.json()["tenant"]["database_name"] != credentials["db_name"]
    assert run_sql(person.credentials(), _WORDS) == [["before"]]

    fork = office.admin.post(f"{path}/fork")
    assert fork.status_code == 201
    assert office.admin.delete(f"/admin/tenants/{fork.json()['tenant_id']}").json()["state"] == "deleted"
    assert office.admin.delete(path).json()["state"] == "deleted"
    assert asked(person).status_code == 410
    # And there is a way back: an empty one, and what was exported.
    made = office.admin.post(f"{path}/create").json()
    assert (made["tenant_id"], made["state"]) == (tenant["tenant_id"], "provisioning")
    assert run_sql(person.credentials(), _WORDS) == []
    assert office.admin.delete(path).json()["state"] == "deleted"
    again = office.admin.post(f"{path}/restore", content=file.read_bytes())
    assert (again.status_code, again.json()["tenant"]["state"]) == (200, "ready")
    assert run_sql(person.credentials(), _WORDS) == [["before"]]
    assert office.admin.post("/admin/tenants/nobody@example.com/create").status_code == 404
    assert office.admin.delete(path).json()["state"] == "deleted"
    actions = [each["action"] for each in office.admin.get("/admin/audit").json()["entries"]]
    assert {"tenant.deleted", "tenant.restored", "tenant.suspended", "tenant.exported"} <= set(actions)


def test_tenants_are_listed_page_by_page(office: Office) -> None:
    for _ in range(3):
        office.person()
    everybody = office.admin.get("/admin/tenants", params={"limit": 500}).json()
    assert everybody["after"] is None
    found, after = [], ""
    while after is not None:
        page = office.admin.get("/admin/tenants", params={"limit": 2, "after": after}).json()
        found += page["tenants"]
        after = page["after"]
    assert found == everybody["tenants"]
    ready = office.admin.get("/admin/tenants", params={"state": "ready"}).json()["tenants"]
    assert {each["state"] for each in ready} == {"ready"}
    counts = office.admin.get("/admin/tenants/counts").json()
    assert sum(counts.values()) == len(found)
    assert counts["ready"] == len(ready)


def script(office: Office, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *words],
        cwd=office.service.folder,
        env=office.service.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "scripts").glob("*_*.py")))
def test_each_script_explains_itself(office: Office, name: str) -> None:
    shown = script(office, name, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Example" in shown.stdout
    if name != "create_admin_user.py":
        assert "--dry-run" in shown.stdout


def central(office: Office, *statements: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(office.service.data_dir / "central.db", timeout=30)) as db, db:
        return [row for sql in statements for row in db.execute(sql).fetchall()]


def test_old_settings_and_decks_move_into_each_users_own_database(office: Office) -> None:
    (ada, mine), (bob, theirs), (eve, _) = office.person(), office.person(), office.person()
    name = "migrate_settings_decks_to_user_db.py"
    nothing = script(office, name)
    assert (nothing.returncode, "no such tables" in nothing.stderr) == (0, True)
    central(
        office,
        "CREATE TABLE user_settings (user_id TEXT, newCardsPerDay INTEGER, updatedAt TEXT, theme TEXT)",
        "CREATE TABLE decks (id TEXT, userId TEXT, name TEXT, filters TEXT, created_at INTEGER)",
        f"INSERT INTO user_settings VALUES ('{ada.user_id}', 33, '2026-01-01T00:00:00.000Z', 'dark')",
        f"INSERT INTO user_settings VALUES ('{bob.user_id}', 44, '2026-01-01T00:00:00.000Z', 'dark')",
        f"INSERT INTO decks VALUES ('d1', '{ada.user_id}', 'Verbs', '{{}}', 5)",
        f"INSERT INTO decks VALUES ('d2', '{ada.user_id}', 'كلمات', '{{}}', 6)",
        f"INSERT INTO decks VALUES ('d3', '{eve.user_id}', '', '{{}}', 7)",  # no name: their database refuses it
        "INSERT INTO decks VALUES ('d4', 'nobody', 'Lost', '{}', 8)",
    )
    run_sql(theirs, "UPDATE settings SET new_cards_per_day = 7, updated_at = 9999999999999")
    words = ("--settings-table", "user_settings")
    would = script(office, name, *words, "--dry-run")
    assert would.stdout == "would move 2 settings and 4 decks of 4 users, 0 failed\n"
    kept = script(office, name, *words, "--keep", "--json")
    lines = [json.loads(line) for line in kept.stdout.splitlines()]
    assert {each["user_id"]: each["error"] is None for each in lines} == {
        ada.user_id: True, bob.user_id: True, eve.user_id: False, "nobody": False,
    }  # fmt: skip
    assert central(office, "SELECT count(*) FROM decks") == [(4,)]
    run_sql(mine, "UPDATE decks SET name = 'My verbs' WHERE id = 'd1'")
    for _ in range(2):
        moved = script(office, name, *words)
        assert moved.returncode == 1
        assert "CHECK" in moved.stderr
        assert central(office, "SELECT id FROM decks ORDER BY id") == [("d3",), ("d4",)]
        assert central(office, "SELECT count(*) FROM user_settings") == [(0,)]
    assert run_sql(mine, "SELECT id, name FROM decks ORDER BY id") == [["d1", "My verbs"], ["d2", "كلمات"]]
    assert run_sql(mine, "SELECT new_cards_per_day FROM settings") == [["33"]]
    assert run_sql(theirs, "SELECT new_cards_per_day FROM settings") == [["7"]]


def test_the_script_for_migrations_is_a_rollout_and_tells_who_is_in_its_own_way(office: Office) -> None:
    (_, well), (_, broken) = office.person(), office.person()
    head = len(list((ROOT / "schema_registry/bahar").glob("*.sql")))
    back = ("DROP INDEX flashcards_due", f"DELETE FROM freehold_ledger WHERE version = {head}")
    in_file(office, well, *back)
    in_file(office, broken, *back, "ALTER TABLE flashcards RENAME TO cards")
    names = f"('{well['db_name']}', '{broken['db_name']}')"
    central(office, f"UPDATE tenant SET schema_version = {head - 1} WHERE database_name IN {names}")
    would = script(office, "apply_user_db_migrations.py", "--dry-run")
    assert would.stdout.startswith(f"to version {head}: 2 tenants are behind\n")
    for code in (0, 1):  # what drifted is no failure, unless there is nothing else
        done = script(office, "apply_user_db_migrations.py")
        assert (done.returncode, "flashcards" in done.stdout) == (code, True), done.stdout
    assert run_sql(well, "SELECT max(version) FROM freehold_ledger") == [[str(head)]]
    in_file(office, broken, "ALTER TABLE cards RENAME TO flashcards")
    assert script(office, "apply_user_db_migrations.py").returncode == 0
