"""People who use a running service in tests."""

import itertools
import time
from dataclasses import dataclass
from typing import Any

import httpx

_numbers = itertools.count(1)
PASSWORD = "correct-horse-1"


@dataclass(frozen=True)
class Person:
    """Somebody signed up, with their session's token."""

    url: str
    email: str
    user_id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def credentials(self, within_s: float = 15.0, **query: str) -> dict[str, Any]:
        """What `GET /databases/user` gives once the database is ready."""
        until = time.monotonic() + within_s
        while True:
            reply = httpx.get(f"{self.url}/databases/user", headers=self.headers, params=query, timeout=10)
            if reply.status_code == 200:
                found: dict[str, Any] = reply.json()
                return found
            assert reply.status_code == 202, reply.text
            assert time.monotonic() < until, reply.text
            time.sleep(0.05)


def sign_up(url: str, email: str | None = None) -> Person:
    """Somebody new."""
    email = email or f"person{next(_numbers)}@example.com"
    body = {"name": "Amal", "email": email, "password": PASSWORD}
    reply = httpx.post(f"{url}/api/auth/sign-up/email", json=body, timeout=30)
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    return Person(url, email, answer["user"]["id"], answer["token"])


def run_sql(credentials: dict[str, Any], *statements: str) -> list[list[Any]]:
    """Rows of the last statement, values as they are on the wire; each is run in order in one pipeline."""
    requests = [{"type": "execute", "stmt": {"sql": sql}} for sql in statements]
    reply = httpx.post(
        f"{credentials['url']}v3/pipeline",
        headers={"authorization": f"Bearer {credentials['access_token']}"},
        json={"baton": None, "requests": [*requests, {"type": "close"}]},
        timeout=30,
    )
    assert reply.status_code == 200, reply.text
    answers = reply.json()["results"][:-1]
    for answer in answers:
        assert answer["type"] == "ok", answer
    return [[value.get("value") for value in row] for row in answers[-1]["response"]["result"]["rows"]]
