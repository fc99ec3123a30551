"""Owners arrive while the service is killed: each account is all the stranger's still, or all its owner's."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import Any

import httpx
from testbed.mailed import OutboxReader
from testbed.servers import Service

from tests.e2e.people import Person, sign_up

ACCOUNTS, KILLS = 9, 2


def test_no_kill_leaves_an_owner_who_has_arrived_with_a_stranger(tmp_path: Path) -> None:
    service = Service(tmp_path / "service", RATE_LIMITS="off").start()
    outbox = OutboxReader(service.data_dir / "outbox.jsonl")
    seen: list[bool] = []
    try:
        for _ in range(KILLS):
            strangers = [sign_up(service.url) for _ in range(ACCOUNTS)]
            for stranger in strangers:
                made = httpx.post(
                    f"{service.url}/api/auth/api-key/create", json={}, headers=stranger.headers, timeout=30
                )
                assert made.status_code == 200
            proofs = [proof(service.url, outbox, who) for who in strangers]
            has_begun = Event()

            def prove(does: Callable[[], None], has_begun: Event = has_begun) -> None:
                with suppress(httpx.TransportError):
                    does()
                    has_begun.set()

            with ThreadPoolExecutor(ACCOUNTS) as pool:
                running = [pool.submit(prove, each) for each in proofs]
                has_begun.wait(20)
                service.kill()
                for each in running:
                    each.result()
            seen += [is_proved(service, stranger) for stranger in strangers]
            service.start()
    finally:
        service.kill()
    assert any(seen), "nobody arrived: nothing was tried"


def proof(url: str, outbox: OutboxReader, stranger: Person) -> Callable[[], None]:
    """What the owner does, with all that is needed for it in hand."""
    email = stranger.email
    asked = {"email": email, "type": "sign-in"}
    httpx.post(f"{url}/api/auth/email-otp/send-verification-otp", json=asked, timeout=30)
    body = {"email": email, "otp": outbox.code(email)}

    def prove() -> None:
        reply = httpx.post(f"{url}/api/auth/sign-in/email-otp", json=body, timeout=30)
        assert reply.status_code == 200, reply.text

    return prove


def is_proved(service: Service, stranger: Person) -> bool:
    """Whether the owner has arrived; nothing in between is there."""
    with closing(sqlite3.connect(service.data_dir / "central.db")) as db:

        def count(sql: str, *values: Any) -> int:
            return int(db.execute(sql, values).fetchone()[0])

        proved = count('SELECT "emailVerified" FROM "user" WHERE id = ?', stranger.user_id)
        theirs = {
            "session": count("SELECT count(*) FROM session WHERE token = ?", stranger.token),
            "key": count('SELECT count(*) FROM apikey WHERE "referenceId" = ?', stranger.user_id),
            "password": count('SELECT count(*) FROM account WHERE "userId" = ?', stranger.user_id),
            "code": count("SELECT count(*) FROM verification WHERE identifier = ?", f"sign-in-otp-{stranger.email}"),
        }
        told = count("SELECT count(*) FROM audit_entry WHERE action = 'user.access_ended' AND target = ?",
                     f"user:{stranger.user_id}")  # fmt: skip
    assert theirs == dict.fromkeys(theirs, 0 if proved else 1)
    assert told == proved
    return bool(proved)
