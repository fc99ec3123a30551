"""People come by code and leave again while the service is killed: whatever was told them is true afterwards."""

import json
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
from testbed.mailed import OutboxReader
from testbed.servers import Service

PEOPLE, KILLS = 3, 2


class Crowd:
    """Each signs up with a code and every second one deletes themself, again and again."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.outbox = OutboxReader(service.data_dir / "outbox.jsonl")
        self.signed_up: set[str] = set()
        self.asked_to_be_deleted: set[str] = set()
        self.deleted: set[str] = set()
        self.is_over = threading.Event()

    def run(self, person: int) -> None:
        for number in range(10_000):
            if self.is_over.is_set():
                return
            with suppress(httpx.TransportError, IndexError, json.JSONDecodeError):
                self.come_and_go(f"person-{person}-{number}@example.com", leaves=number % 2 == 0)

    def come_and_go(self, email: str, *, leaves: bool) -> None:
        url = f"{self.service.url}/api/auth"
        with httpx.Client(timeout=5) as http:
            asked = {"email": email, "type": "sign-in"}
            if http.post(f"{url}/email-otp/send-verification-otp", json=asked).status_code != 200:
                return
            # What was answered is in the outbox, whole, whatever happens next.
            body = {"email": email, "otp": self.outbox.code(email)}
            reply = http.post(f"{url}/sign-in/email-otp", json=body)
            if reply.status_code != 200:
                return
            user_id, token = reply.json()["user"]["id"], reply.json()["token"]
            self.signed_up.add(user_id)
            if not leaves:
                return
            self.asked_to_be_deleted.add(user_id)
            http.cookies.clear()  # no browser: then there is no origin to tell
            bearer = {"authorization": f"Bearer {token}"}
            if http.post(f"{url}/delete-user", json={}, headers=bearer).status_code == 200:
                self.deleted.add(user_id)


def test_nothing_is_half_done_after_kills(tmp_path: Path) -> None:
    service = Service(tmp_path / "service", RATE_LIMITS="off").start()
    crowd = Crowd(service)
    threads = [threading.Thread(target=crowd.run, args=(person,)) for person in range(PEOPLE)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLS):
            before = len(crowd.deleted)
            until = time.monotonic() + 20
            while len(crowd.deleted) < before + 3 and time.monotonic() < until:
                time.sleep(0.02)
            service.kill()
            service.start()
    finally:
        crowd.is_over.set()
        for thread in threads:
            thread.join()
        service.kill()
    assert len(crowd.deleted) >= KILLS * 3
    with sqlite3.connect(service.data_dir / "central.db") as db:
        users = {user_id for (user_id,) in db.execute('SELECT id FROM "user"')}
        tenants = dict(db.execute("SELECT user_id, state FROM tenant"))
        owners = {owner for (owner,) in db.execute('SELECT "userId" FROM session')}
    db.close()
    assert users <= set(tenants), "a user without a database"
    leaving = {"deleting", "deleted"}
    assert {owner for owner, state in tenants.items() if state in leaving}.isdisjoint(users)
    orphans = {owner for owner, state in tenants.items() if state not in leaving} - users
    assert orphans == set(), "a database of nobody that nobody deletes"
    assert owners <= users
    assert crowd.deleted.isdisjoint(users), "who was told to be deleted is there"
    assert crowd.signed_up - crowd.asked_to_be_deleted <= users, "who was told to be signed in is not there"
    assert all(line["to"] for line in crowd.outbox.mails())
