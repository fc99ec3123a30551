"""What the tests of OWASP ASVS share: a running service, people on it, their mail, and a look at what is stored."""

import sqlite3
from dataclasses import dataclass
from typing import Any

import httpx
from testbed.mailed import OutboxReader
from testbed.servers import ROOT, Service

from tests.e2e.people import PASSWORD, Person, sign_up

SECURITY = (ROOT / "docs/security.md").read_text()


@dataclass(frozen=True)
class AssessedService:
    service: Service

    @property
    def mail(self) -> OutboxReader:
        return OutboxReader(self.service.data_dir / "outbox.jsonl")

    def post(self, path: str, body: Any = None, token: str = "", **headers: str) -> httpx.Response:
        if token:
            headers["authorization"] = f"Bearer {token}"
        return httpx.post(f"{self.service.url}{path}", json=body or {}, headers=headers, timeout=30)

    def get(self, path: str, token: str = "", **headers: str) -> httpx.Response:
        if token:
            headers["authorization"] = f"Bearer {token}"
        return httpx.get(f"{self.service.url}{path}", headers=headers, timeout=30)

    def auth(self, path: str, body: Any = None, token: str = "") -> httpx.Response:
        return self.post(f"/api/auth/{path}", body, token)

    def person(self) -> Person:
        return sign_up(self.service.url)

    def sign_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        return self.auth("sign-in/email", {"email": email, "password": password})

    def admin(self) -> Person:
        made = self.service.run("users", "create-admin", "admin@example.com", "--password-stdin", stdin=PASSWORD)
        assert made.returncode == 0, made.stderr
        found = self.sign_in("admin@example.com").json()
        return Person(self.service.url, "admin@example.com", found["user"]["id"], found["token"])

    def lives(self, token: str) -> bool:
        return self.get("/api/auth/get-session", token).json() is not None

    def code(self, email: str, kind: str) -> str:
        sent = self.auth("email-otp/send-verification-otp", {"email": email, "type": kind})
        assert sent.status_code == 200, sent.text
        return self.mail.code(email)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with sqlite3.connect(f"file:{self.service.data_dir}/central.db?mode=ro", uri=True, timeout=30) as db:
            found = db.execute(sql, values).fetchall()
        db.close()
        return found

    def change(self, sql: str, *values: Any) -> None:
        """Behind the service's back."""
        with sqlite3.connect(self.service.data_dir / "central.db", timeout=30) as db:
            db.execute(sql, values)
        db.close()

    def age(self, token: str, **columns: str) -> None:
        """Give a session other dates."""
        for column, date in columns.items():
            self.change(f'UPDATE session SET "{column}" = ? WHERE token = ?', date, token)
