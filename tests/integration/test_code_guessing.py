"""Strangers who guess codes, and ask for mail, at the running service: the owner gets in all the same."""

import sqlite3
from collections.abc import Iterator
from itertools import count

import httpx
import pytest
from testbed.mailed import OutboxReader
from testbed.servers import Service

from tests.e2e.people import PASSWORD, sign_up

OWNER = "203.0.113.7"
SEND, SIGN_IN = "email-otp/send-verification-otp", "sign-in/email-otp"

_number = count(1)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service behind a proxy, so that tests come from where they say."""
    running = Service(tmp_path_factory.mktemp("behind"), TRUSTED_PROXIES="127.0.0.1").start()
    yield running
    running.stop()


def new_address() -> str:
    return f"somebody-{next(_number)}@example.com"


def new_place() -> str:
    """Of which an attacker has many."""
    number = next(_number)
    return f"10.{number // 65_536 % 256}.{number // 256 % 256}.{number % 256}"


def post(service: Service, path: str, body: dict[str, str], source: str, token: str = "") -> httpx.Response:
    headers = {"x-forwarded-for": source}
    if token:
        headers["authorization"] = f"Bearer {token}"
    return httpx.post(f"{service.url}/api/auth/{path}", json=body, headers=headers, timeout=60)


def mail(service: Service) -> OutboxReader:
    return OutboxReader(service.data_dir / "outbox.jsonl")


def ask(service: Service, email: str, kind: str = "sign-in", source: str = OWNER) -> str:
    assert post(service, SEND, {"email": email, "type": kind}, source).status_code == 200
    return mail(service).code(email)


def guess(service: Service, email: str, source: str, wrong: str = "000000") -> int:
    return post(service, SIGN_IN, {"email": email, "otp": wrong}, source).status_code


def wrong_for(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


def test_a_strangers_wrong_codes_do_not_keep_the_owner_out(behind: Service) -> None:
    """Each request from another network, the owner's too: nobody is known by theirs."""
    email = new_address()
    wrong = wrong_for(ask(behind, email, source=new_place()))
    assert [guess(behind, email, new_place(), wrong) for _ in range(3)] == [400] * 3
    otp = ask(behind, email, source=new_place())
    assert guess(behind, email, new_place(), otp) == 200
    assert post(behind, "email-otp/request-password-reset", {"email": email}, new_place()).status_code == 200


def test_nor_do_they_where_everybody_is_on_one_network(service: Service) -> None:
    """Without a proxy that is trusted all requests are from the same place."""
    email = new_address()
    wrong = wrong_for(ask(service, email))
    assert [guess(service, email, OWNER, wrong) for _ in range(4)] == [400] * 3 + [403]
    assert guess(service, email, OWNER, ask(service, email)) == 200


def test_while_strangers_go_on_guessing_a_code_is_good_where_it_was_asked_for(behind: Service) -> None:
    email = new_address()
    for _ in range(3):  # each fresh one is guessed at before the owner has typed it
        otp = ask(behind, email)
        told = {guess(behind, email, new_place(), wrong_for(otp)) for _ in range(30)}
        assert told <= {400, 403, 429}
    assert guess(behind, email, OWNER, otp) == 200


PURPOSES = ("sign-in", "email-verification", "forget-password", "change-email")


@pytest.mark.parametrize("kind", PURPOSES)
def test_so_it_is_with_every_kind_of_code(behind: Service, kind: str) -> None:
    person = sign_up(behind.url)
    email = new_address() if kind == "change-email" else person.email
    if kind == "change-email":
        asked = post(behind, "email-otp/request-email-change", {"newEmail": email}, OWNER, person.token)
        assert asked.status_code == 200
        otp = mail(behind).code(email)
    else:
        otp = ask(behind, email, kind)
    path, body = {
        "sign-in": (SIGN_IN, {"email": email}),
        "email-verification": ("email-otp/verify-email", {"email": email}),
        "forget-password": ("email-otp/reset-password", {"email": email, "password": "another-horse-2"}),
        "change-email": ("email-otp/change-email", {"newEmail": email}),
    }[kind]
    for other in PURPOSES[:3]:
        wrong = {"email": email, "otp": wrong_for(otp)}
        for _ in range(8):
            post(behind, "email-otp/check-verification-otp", {**wrong, "type": other}, new_place())
            post(behind, SIGN_IN, wrong, new_place())
    done = post(behind, path, {**body, "otp": otp}, OWNER, person.token)
    assert done.status_code == 200, done.text


def test_strangers_use_up_their_own_mail_and_never_the_owners(behind: Service) -> None:
    email = new_address()
    stranger = new_place()
    asked = [post(behind, SEND, {"email": email, "type": "sign-in"}, stranger) for _ in range(4)]
    assert [reply.status_code for reply in asked] == [200] * 3 + [429]
    assert guess(behind, email, OWNER, ask(behind, email)) == 200


def test_strangers_from_many_places_neither_flood_an_address_nor_keep_its_owner_out(behind: Service) -> None:
    email = new_address()
    for _ in range(60):
        post(behind, SEND, {"email": email, "type": "sign-in"}, new_place())
    assert len(mail(behind).mails(email)) == 12
    assert guess(behind, email, OWNER, ask(behind, email)) == 200
    # From where they have signed in they get mail of their own from now on, whatever strangers have asked for.
    before = len(mail(behind).mails(email))
    otp = ask(behind, email, "forget-password")
    assert len(mail(behind).mails(email)) == before + 1
    body = {"email": email, "otp": otp, "password": "another-horse-2"}
    assert post(behind, "email-otp/reset-password", body, OWNER).status_code == 200


def test_strangers_use_up_no_links_either(behind: Service) -> None:
    person = sign_up(behind.url)
    stranger = new_place()
    asked = [post(behind, "request-password-reset", {"email": person.email}, stranger) for _ in range(3)]
    assert [reply.status_code for reply in asked] == [200] * 3
    assert post(behind, "request-password-reset", {"email": person.email}, OWNER).status_code == 200
    body = {"token": mail(behind).token(person.email), "newPassword": "another-horse-2"}
    assert post(behind, "reset-password", body, OWNER).status_code == 200


def test_whoever_knows_the_password_of_an_unproved_address_makes_no_place_known(behind: Service) -> None:
    """Else an attacker who signs up with another's address could ask for mail and guess from as many as they like."""
    email = new_address()
    body = {"name": "Eve", "email": email, "password": PASSWORD}
    assert post(behind, "sign-up/email", body, new_place()).status_code == 200
    for _ in range(30):
        place = new_place()
        assert post(behind, "sign-in/email", body, place).status_code == 200
        post(behind, SEND, {"email": email, "type": "sign-in"}, place)
    assert len(mail(behind).mails(email)) == 12


def test_nobody_learns_from_all_this_who_exists(behind: Service) -> None:
    told = []
    for email in (sign_up(behind.url).email, new_address()):
        replies = []
        for kind in ("email-verification", "forget-password"):
            for _ in range(14):
                replies.append(post(behind, SEND, {"email": email, "type": kind}, new_place()))
            for _ in range(8):
                wrong = {"email": email, "otp": "000000", "type": kind}
                replies.append(post(behind, "email-otp/check-verification-otp", wrong, new_place()))
        told.append([(reply.status_code, reply.content) for reply in replies])
    assert told[0] == told[1]


def test_a_stranger_has_no_more_than_eight_tries_at_a_code_from_wherever(behind: Service) -> None:
    email = new_address()
    place = new_place()
    otp = ask(behind, email, source=place)
    for source in [new_place() for _ in range(20)] + [place] * 20:
        guess(behind, email, source, wrong_for(otp))
    with sqlite3.connect(behind.data_dir / "central.db", timeout=30) as db:
        rows = dict(db.execute("SELECT identifier, value FROM verification WHERE identifier LIKE '%' || ?", (email,)))
        assert rows[f"code-tries-{email}"] == "8"
        assert otp not in repr(rows)
        assert place not in repr(db.execute("SELECT * FROM verification").fetchall())
    db.close()
    assert guess(behind, email, new_place(), otp) != 200
