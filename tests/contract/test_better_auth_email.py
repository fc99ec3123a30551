"""Replays what a real better-auth server was recorded answering where mail is part of it, against the whole service.

Three recorded habits are not ours. better-auth sends codes to an address without end, and gives three more guesses
with each: between recordings that need more than we allow, the counts are set back. And it leaves all sessions alive
when a password is reset: here they end, so who goes on in the recordings signs in again first.

`<otp>` stands for the code of the newest mail, which is read from the outbox.

One answer of better-auth gives away what it is made to hide: the user that it makes up for a sign-up with an
address that is taken has no role, where a real one has. Ours has.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.contract.test_better_auth import Replay
from tests.support.auth_app import AuthApp, QuickHasher, running_service

RECORDED = json.loads((Path(__file__).parent / "captures/better_auth_email.json").read_text())
GROUPS: dict[str, list[dict[str, Any]]] = RECORDED["groups"]

# Whose session a recording's token was.
OWNERS = {
    "<token:1>": ("Ada", "ada@example.com"),
    "<token:15>": ("Setup User", "verify@example.com"),
    "<token:16>": ("Setup User", "gone@example.com"),
    "<token:17>": ("Setup User", "stale@example.com"),
    "<token:18>": ("Setup User", "fresh@example.com"),
    "<token:23>": ("Setup User", "unproven@example.com"),
    "<token:24>": ("Setup User", "otpverify@example.com"),
    "<token:26>": ("Setup User", "bearer@example.com"),
    "<token:46>": ("Need", "need@example.com"),
}
# A code that was sent before the request was recorded.
SENT_BEFORE = {
    "email-otp.sign-in.existing-user": ("sign-in", "otp@example.com"),
    "email-otp.sign-in.attempt-1": ("sign-in", "otp@example.com"),
    "email-otp.sign-in.expired": ("sign-in", "otp@example.com"),
    "email-otp.sign-in.superseded": ("sign-in", "otp@example.com"),
    "email-otp.sign-in.unverified-password-user": ("sign-in", "unproven@example.com"),
    "email-otp.check": ("email-verification", "otpverify@example.com"),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "deletion-by-mail": {"confirm_deletion": "mail"},
    "required-verification": {"email_verification": "required"},
}


@pytest.mark.parametrize("group", GROUPS)
async def test_answers_as_better_auth_was_recorded_to(group: str, tmp_path: Path) -> None:
    settings = SETTINGS.get(group, {})
    async with running_service(tmp_path, QuickHasher(), trusted_proxies=("127.0.0.1",), **settings) as app:
        replay = MailReplay(app, tmp_path / "outbox.jsonl")
        captures = [*first_steps(group), *GROUPS[group]]
        faults = [fault for capture in captures for fault in await replay.play(capture)]
        assert faults == []


def first_steps(group: str) -> list[dict[str, Any]]:
    """`change-email.taken` needs somebody who has that address."""
    ada = {"name": "Ada", "email": "ada@example.com", "password": "correct-horse-1"}
    if group != "links":
        return []
    return [
        {
            "name": "sign-up of somebody else",
            "request": {"method": "POST", "path": "/api/auth/sign-up/email", "headers": {}, "body": ada},
        }
    ]


class MailReplay(Replay):
    """Fills in what was in the mails, too."""

    def __init__(self, app: AuthApp, outbox: Path) -> None:
        super().__init__(app, has_cors=True)
        self.outbox = outbox
        self.older_code = ""

    async def play(self, capture: dict[str, Any]) -> list[str]:
        await self.arrange(capture)
        text = json.dumps(capture)
        if capture["name"] == "require-verification.sign-up.duplicate":
            text = text.replace('"role": null', '"role": "user"')
        for placeholder, value in self.secrets(capture["name"]).items():
            text = text.replace(placeholder, value)
        filled = json.loads(text)
        if "response" not in filled:
            await self.send(filled)
            return []
        if "body" in filled["request"]:
            body = json.dumps(filled["request"]["body"])
            for placeholder, value in self.bound.items():
                body = body.replace(placeholder, value)
            filled["request"]["body"] = json.loads(body)
        return await super().play(filled)

    async def arrange(self, capture: dict[str, Any]) -> None:
        name = capture["name"]
        for token in re.findall(r"<token:\d+>", json.dumps(capture["request"])):
            if token not in self.bound and token in OWNERS:
                await self.sign_up(*OWNERS[token], token)
        if name == "list-sessions":
            await self.sign_in_often()
        if name == "delete-user.not-fresh":
            await self.app.write(
                "UPDATE session SET createdAt = '2026-01-01T00:00:00.000Z' WHERE token = ?", self.bound["<token:17>"]
            )
        if name == "email-otp.sign-in.unverified-password-user":
            await self.sign_up(*OWNERS["<token:23>"], "<token:23>")
        if name == "email-otp.request-email-change":
            body = {"email": "otpverify@example.com", "password": "brand-new-pass-1"}
            again = await self.app.post("/api/auth/sign-in/email", body)
            self.bound["<token:24>"] = again.json()["token"]
        if name == "email-otp.check":
            await self.sign_up(*OWNERS["<token:24>"], "<token:24>")
        if not name.startswith(("email-otp.sign-in.attempt", "email-otp.sign-in.too-many")):
            await self.app.write("DELETE FROM verification WHERE identifier LIKE 'code-tries-%'")
        if name in SENT_BEFORE:
            await self.send_code(*SENT_BEFORE[name])
        if name.endswith(".superseded"):
            self.older_code = self.newest(r"(?m)^(\d{6})$")
            await self.send_code(*SENT_BEFORE[name])
        if name.endswith(".expired"):
            await self.app.write(
                "UPDATE verification SET expiresAt = '2026-01-01T00:00:00.000Z' WHERE identifier LIKE '%-otp-%'"
            )

    async def sign_in_often(self) -> None:
        """The sessions that had been recorded by then; the last came from elsewhere."""
        credentials = {"email": "ada@example.com", "password": "correct-horse-1"}
        for number in range(6, 13):
            elsewhere = {"x-forwarded-for": "203.0.113.9", "user-agent": "Second/1.0"} if number == 12 else {}
            body = {**credentials, "rememberMe": number != 8}
            reply = await self.app.post("/api/auth/sign-in/email", body, **elsewhere)
            self.bound[f"<token:{number}>"] = reply.json()["token"]

    async def send_code(self, kind: str, email: str) -> None:
        await self.app.write("DELETE FROM verification WHERE identifier LIKE 'code-mails-%'")
        body = {"email": email, "type": kind}
        reply = await self.app.post("/api/auth/email-otp/send-verification-otp", body)
        assert reply.status_code == 200, reply.text

    def secrets(self, name: str) -> dict[str, str]:
        code = self.newest(r"(?m)^(\d{6})$")
        return {
            "<otp>": self.older_code if name.endswith(".superseded") else code,
            "<wrong-otp>": f"{(int(code or 0) + 1) % 1_000_000:06}",
            "<jwt>": self.newest(r"verify-email\?token=([\w.-]+)&"),
            "<reset-token>": self.newest(r"/reset-password/(\w{24})\?"),
            "<delete-token>": self.newest(r"delete-user/callback\?token=(\w+)&"),
        }

    def newest(self, pattern: str) -> str:
        lines = self.outbox.read_text().splitlines() if self.outbox.exists() else []
        found = [match[1] for line in lines if (match := re.search(pattern, json.loads(line)["text"]))]
        return found[-1] if found else ""
