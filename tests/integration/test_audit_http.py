"""`GET /admin/audit` and `freehold audit` on a running service, and what its own work records there."""

import json
import sqlite3
from typing import Any

import httpx
import pytest
from testbed.servers import Service

from tests.e2e.people import PASSWORD, Person, sign_up


@pytest.fixture(scope="module")
def admin(service: Service) -> Person:
    made = service.run("users", "create-admin", "admin@example.com", "--password-stdin", stdin=PASSWORD)
    assert made.returncode == 0, made.stderr
    return _sign_in(service.url, "admin@example.com")


def _sign_in(url: str, email: str, password: str = PASSWORD) -> Person:
    body = {"email": email, "password": password}
    found = httpx.post(f"{url}/api/auth/sign-in/email", json=body).raise_for_status().json()
    return Person(url, email, found["user"]["id"], found["token"])


def _audit(admin: Person, **query: Any) -> Any:
    reply = httpx.get(f"{admin.url}/admin/audit", headers=admin.headers, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def _actions(admin: Person, **query: Any) -> list[str]:
    return [entry["action"] for entry in _audit(admin, **query)["entries"]]


def test_a_persons_day_is_on_record(admin: Person) -> None:
    person = sign_up(admin.url)
    refused = httpx.post(
        f"{admin.url}/api/auth/sign-in/email", json={"email": person.email, "password": "wrong-horse-1"}
    )
    again = _sign_in(admin.url, person.email)
    httpx.post(f"{admin.url}/api/auth/sign-out", headers=again.headers).raise_for_status()
    httpx.post(f"{admin.url}/api/auth/sign-out", headers=again.headers).raise_for_status()  # of no session

    name = f"user:{person.user_id}"
    found = _audit(admin, target=name)["entries"]
    assert [entry["action"] for entry in found] == [
        "user.signed_out", "user.signed_in", "user.sign_in_failed", "user.signed_up",
    ]  # fmt: skip
    out, signed_in, failed, up = found
    assert (up["actor"], signed_in["actor"], out["actor"]) == (name, name, name)
    assert (failed["actor"], failed["details"]) == ("anonymous", {"reason": "wrong_password"})
    assert failed["request_id"] == refused.headers["x-request-id"]
    assert {entry["ip_address"] for entry in found} == {"127.0.0.1"}
    assert out["details"]["session_id"] == signed_in["details"]["session_id"]
    assert person.email not in json.dumps(found)
    assert _actions(admin, actor="anonymous", target=name) == ["user.sign_in_failed"]


def test_an_unknown_address_is_not_kept(admin: Person) -> None:
    body = {"email": "nobody-known@example.com", "password": PASSWORD}
    assert httpx.post(f"{admin.url}/api/auth/sign-in/email", json=body).status_code == 401
    [newest] = _audit(admin, limit=1)["entries"]
    assert (newest["target"], newest["details"]) == ("", {"reason": "unknown_address"})
    assert "nobody-known" not in json.dumps(_audit(admin, limit=500))


def test_what_an_operator_and_the_service_did_is_on_record(admin: Person) -> None:
    [made] = _audit(admin, action="user.created")["entries"]
    assert made["actor"].startswith("operator:")
    assert made["target"] == f"user:{admin.user_id}"
    assert made["details"] == {"role": "admin"}
    published = _audit(admin, action="registry.migration_published", limit=500)["entries"]
    assert {entry["actor"] for entry in published} == {"system"}
    assert "migration:1" in {entry["target"] for entry in published}
    assert len(_audit(admin, action="registry.key_added")["entries"]) == 1


def test_a_published_migration_names_who_published_it(admin: Person) -> None:
    body = {"sqlScript": "CREATE TABLE audited (id INTEGER PRIMARY KEY)", "description": "audited"}
    reply = httpx.post(f"{admin.url}/migrations/register", headers=admin.headers, json=body)
    assert reply.status_code == 201, reply.text
    [entry] = _audit(admin, target=f"migration:{reply.json()['version']}")["entries"]
    assert entry["actor"] == f"user:{admin.user_id}"
    assert entry["details"]["checksum"] == reply.json()["checksum"]


def test_pages_lead_to_the_first_entry(admin: Person) -> None:
    seen: list[int] = []
    before: int | None = None
    while True:
        page = _audit(admin, limit=3, **({"before": before} if before else {}))
        seen += [entry["seq"] for entry in page["entries"]]
        before = page["before"]
        if before is None:
            break
    assert seen == list(range(seen[0], 0, -1))


@pytest.mark.parametrize(
    "query", [{"before": "0"}, {"limit": "0"}, {"limit": "501"}, {"limit": "x"}, {"since": "now"}, {"until": "1"}]
)
def test_a_question_that_makes_no_sense_is_refused(admin: Person, query: dict[str, str]) -> None:
    reply = httpx.get(f"{admin.url}/admin/audit", headers=admin.headers, params=query)
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/problem+json"


def test_the_command_shows_and_checks_the_trail(service: Service, admin: Person) -> None:
    shown = service.run("audit", "list", "--last", "3", "--actor", f"user:{admin.user_id}", "--json")
    entries = [json.loads(line) for line in shown.stdout.splitlines()]
    by_http = _audit(admin, actor=f"user:{admin.user_id}", limit=3)["entries"]
    assert entries == by_http[::-1]
    assert "user.signed_in" in service.run("audit", "list").stdout

    verified = service.run("audit", "verify")
    assert verified.returncode == 0, verified.stderr
    anchor = verified.stdout.strip()
    noted = service.run("audit", "verify", "--anchor", anchor, "--anchors", "-", "--json", stdin=service.log())
    assert json.loads(noted.stdout)["whole"] is True
    other = anchor[:-1] + ("0" if anchor[-1] != "0" else "1")
    refused = service.run("audit", "verify", "--anchor", other)
    assert refused.returncode == 1
    assert "anchor" in refused.stderr


def test_the_service_anchors_the_trail_in_its_log(service: Service, admin: Person) -> None:
    anchors = [json.loads(line) for line in service.log().splitlines() if '"audit.anchored"' in line]
    assert anchors
    first = _audit(admin, before=anchors[0]["seq"] + 1, limit=1)["entries"][0] if anchors[0]["seq"] else None
    assert (first or {"hash": ""})["hash"] == anchors[0]["hash"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["list", "--since", "yesterday"], 1),
        (["list", "--last", "2", "--limit", "3"], 2),
        (["verify", "--anchor", "12"], 2),
        (["verify", "--anchors", "/no/such/file"], 2),
    ],
)
def test_wrong_use_is_told(service: Service, words: list[str], code: int) -> None:
    done = service.run("audit", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr


def test_a_spoilt_trail_is_told_by_the_exit_code(service: Service, admin: Person) -> None:
    with sqlite3.connect(service.data_dir / "central.db", isolation_level=None) as db:
        trigger = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'audit_entry_is_never_changed'").fetchone()[0]
        db.execute("DROP TRIGGER audit_entry_is_never_changed")
        db.execute("UPDATE audit_entry SET actor = 'user:somebody-else' WHERE seq = 2")
        db.execute(trigger)
    db.close()
    done = service.run("audit", "verify", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["broken_at"] == 2
    assert "entry 2" in service.run("audit", "verify").stderr
