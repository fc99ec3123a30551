"""Guests: what somebody wrote before they said who they are is never lost. On the running service."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from testbed.servers import Service

from tests.e2e.people import PASSWORD, Person, run_sql, sign_up

CARD = "INSERT INTO decks (id, name, created_at, updated_at) VALUES ('{0}', '{0}', 0, 0)"


def guest(service: Service) -> Person:
    reply = httpx.post(f"{service.url}/api/auth/sign-in/anonymous", json={}, timeout=30)
    assert reply.status_code == 200, reply.text
    found = reply.json()
    return Person(service.url, found["user"]["email"], found["user"]["id"], found["token"])


def enter(person: Person, path: str, email: str) -> httpx.Response:
    """Sign up or in with the session of somebody, e.g. of a guest, in hand."""
    body = {"name": "N", "email": email, "password": PASSWORD}
    return httpx.post(f"{person.url}/api/auth/{path}/email", json=body, headers=person.headers, timeout=30)


def entered(person: Person, path: str, email: str) -> Person:
    reply = enter(person, path, email)
    assert reply.status_code == 200, reply.text
    found = reply.json()
    return Person(person.url, email, found["user"]["id"], found["token"])


def ask(person: Person, method: str, path: str = "", **query: str) -> httpx.Response:
    url = f"{person.url}/databases/guests{path}"
    return httpx.request(method, url, headers=person.headers, params=query, timeout=30)


def offered(person: Person) -> list[dict[str, Any]]:
    reply = ask(person, "GET")
    assert reply.status_code == 200, reply.text
    assert reply.headers["cache-control"] == "no-store"
    found: list[dict[str, Any]] = reply.json()
    return found


def write(person: Person, word: str) -> dict[str, Any]:
    credentials = person.credentials()
    run_sql(credentials, CARD.format(word))
    return credentials


def words(credentials: dict[str, Any]) -> list[str]:
    return [row[0] for row in run_sql(credentials, "SELECT name FROM decks WHERE name LIKE 'word-%' ORDER BY 1")]


def session_of(person: Person) -> Any:
    return httpx.get(f"{person.url}/api/auth/get-session", headers=person.headers, timeout=30).json()


def test_an_anonymous_guest_who_signs_in_to_an_existing_account_loses_neither_database(service: Service) -> None:
    owner = sign_up(service.url)
    own = write(owner, "word-of-the-account")
    visitor = guest(service)
    left_behind = write(visitor, "word-of-the-guest")

    back = entered(visitor, "sign-in", owner.email)

    assert back.user_id == owner.user_id
    assert session_of(visitor) is None, "a guest's session must not outlive the sign-in"
    assert back.credentials()["db_name"] == own["db_name"]
    assert words(back.credentials()) == ["word-of-the-account"]
    (found,) = offered(back)
    assert found["id"] == visitor.user_id
    assert found["db_name"] == left_behind["db_name"]
    assert found["status"] == "ready"

    # To merge is the app's work: it reads one and writes the other.
    reply = ask(back, "GET", f"/{found['id']}")
    assert reply.status_code == 200
    assert reply.json()["access_level"] == "read_only"
    assert words(reply.json()) == ["word-of-the-guest"]
    for word in words(reply.json()):
        run_sql(back.credentials(), CARD.format(word))
    assert words(back.credentials()) == ["word-of-the-account", "word-of-the-guest"]

    # A device may still have to send what it wrote as the guest.
    full = ask(back, "GET", f"/{found['id']}", access_level="full").json()
    run_sql(full, CARD.format("word-sent-late"))
    assert words(full) == ["word-of-the-guest", "word-sent-late"]
    assert [item["id"] for item in offered(back)] == [visitor.user_id], "nothing goes by itself"

    assert ask(back, "DELETE", f"/{found['id']}").status_code == 204
    assert offered(back) == []
    assert ask(back, "GET", f"/{found['id']}").status_code == 404
    assert ask(back, "DELETE", f"/{found['id']}").status_code == 404
    assert words(back.credentials()) == ["word-of-the-account", "word-of-the-guest"]


def test_a_guest_who_signs_up_keeps_their_database(service: Service) -> None:
    visitor = guest(service)
    before = write(visitor, "word-kept")
    grown = entered(visitor, "sign-up", f"grown-{visitor.user_id}@example.com".lower())
    after = grown.credentials()
    assert after["db_name"] == before["db_name"]
    assert words(after) == ["word-kept"]
    assert grown.user_id == visitor.user_id
    assert session_of(visitor) is None
    user = session_of(grown)["user"]
    assert user["isAnonymous"] is False
    assert user["email"] == grown.email
    assert offered(grown) == []
    again = entered(Person(service.url, "", "", "nobody"), "sign-in", grown.email)
    assert words(again.credentials()) == ["word-kept"]


def test_a_refused_sign_up_or_sign_in_leaves_the_guest_as_they_were(service: Service) -> None:
    owner = sign_up(service.url)
    visitor = guest(service)
    write(visitor, "word-untouched")
    assert enter(visitor, "sign-up", owner.email).status_code == 422
    wrong = {"email": owner.email, "password": "not-the-password"}
    url = f"{service.url}/api/auth/sign-in/email"
    assert httpx.post(url, json=wrong, headers=visitor.headers).status_code == 401
    assert session_of(visitor)["user"]["isAnonymous"] is True
    assert words(visitor.credentials()) == ["word-untouched"]
    assert offered(owner) == []


def test_a_guest_database_is_its_users_only(service: Service) -> None:
    owner, stranger = sign_up(service.url), sign_up(service.url)
    visitor = guest(service)
    write(visitor, "word-private")
    entered(visitor, "sign-in", owner.email)
    other_guest = guest(service)
    for somebody in (stranger, other_guest):
        assert offered(somebody) == []
        for victim in (visitor.user_id, owner.user_id, stranger.user_id, other_guest.user_id, "x", "%"):
            assert ask(somebody, "GET", f"/{victim}").status_code == 404
            assert ask(somebody, "DELETE", f"/{victim}").status_code == 404
    # Nor may a user open or delete in this way who was never a guest of theirs.
    assert ask(owner, "DELETE", f"/{stranger.user_id}").status_code == 404
    assert ask(owner, "DELETE", f"/{owner.user_id}").status_code == 404
    assert words(ask(owner, "GET", f"/{visitor.user_id}").json()) == ["word-private"]


def test_a_guest_who_deletes_themselves_is_gone(service: Service) -> None:
    visitor = guest(service)
    credentials = write(visitor, "word-gone")
    reply = httpx.post(f"{service.url}/api/auth/delete-anonymous-user", json={}, headers=visitor.headers)
    assert reply.json() == {"success": True}
    assert session_of(visitor) is None
    until = time.monotonic() + 30
    while '"deleted"' not in (found := tenant(service, credentials["db_name"])):
        assert '"deleting"' in found
        assert time.monotonic() < until, found
        time.sleep(0.2)


def test_a_deleted_user_takes_along_what_they_left_behind_as_a_guest(service: Service) -> None:
    owner = sign_up(service.url)
    visitor = guest(service)
    left_behind = write(visitor, "word-to-go")
    back = entered(visitor, "sign-in", owner.email)
    names = [back.credentials()["db_name"], left_behind["db_name"]]
    url = f"{service.url}/api/auth/delete-user"
    reply = httpx.post(url, json={"password": PASSWORD}, headers=back.headers, timeout=30)
    assert reply.status_code == 200, reply.text
    for name in names:
        assert '"delet' in tenant(service, name)


def tenant(service: Service, database_name: str) -> str:
    """What the operator's list says of it."""
    listed = service.run("tenants", "list", "--json").stdout.splitlines()
    (line,) = [line for line in listed if database_name in line]
    return line


@pytest.mark.parametrize("rivals", [("sign-up", "sign-in"), ("sign-in", "sign-in"), ("sign-up", "sign-up")])
def test_of_two_at_once_one_gets_the_guests_database_and_none_loses_it(
    service: Service, rivals: tuple[str, str]
) -> None:
    for number in range(2):
        visitor = guest(service)
        before = write(visitor, "word-raced")

        def goes(path: str, place: int, number: int = number, visitor: Person = visitor) -> Person:
            email = f"{'-'.join(rivals)}-{number}-{place}@example.com"
            return entered(visitor, path, sign_up(service.url, email).email if path == "sign-in" else email)

        with ThreadPoolExecutor(2) as pool:
            people = list(pool.map(goes, rivals, (0, 1)))
        holders = [person for person in people if person.credentials()["db_name"] == before["db_name"]]
        holders += [person for person in people for item in offered(person) if item["id"] == visitor.user_id]
        assert len(holders) == 1
        credentials = holders[0].credentials()
        if credentials["db_name"] != before["db_name"]:
            credentials = ask(holders[0], "GET", f"/{visitor.user_id}").json()
        assert words(credentials) == ["word-raced"]
