"""Common, breached and predictable passwords at every way of setting one; a service that knows breached ones."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.mailed import OutboxReader
from testbed.servers import Service

from freehold.breaches.service import BreachService, digest_of, open_breach_service
from tests.simulators.pwned_passwords import PwnedPasswords, pwned_passwords
from tests.support.auth_app import AuthApp, QuickHasher, running_service

ADA, PASSWORD = "ada@example.com", "correct-horse-1"
BREACHED = "zanzibar-92-teapots"
REFUSED = {
    "password123": "PASSWORD_COMPROMISED",
    "P@ssw0rd2026": "PASSWORD_COMPROMISED",
    "freehold1": "PASSWORD_TOO_PREDICTABLE",
    "lovelace-1815": "PASSWORD_TOO_PREDICTABLE",
    "!password": "PASSWORD_COMPROMISED",
    "pass word": "PASSWORD_COMPROMISED",
    "p\u00e4ss\u00adw\u043erd": "PASSWORD_COMPROMISED",
    "l.o.v.e.l.a.c.e": "PASSWORD_TOO_PREDICTABLE",
    "127.0.0.1": "PASSWORD_TOO_PREDICTABLE",
}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[AuthApp]:
    async with running_service(tmp_path, QuickHasher()) as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path) -> OutboxReader:
    return OutboxReader(tmp_path / "outbox.jsonl")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def new_user(app: AuthApp, password: str = PASSWORD, email: str = ADA, path: str = "sign-up/email") -> Any:
    body = {"name": "Ada Lovelace", "email": email, "password": password}
    return await app.post(f"/api/auth/{path}", body)


@pytest.mark.parametrize("path", ["sign-up/email", "register"])
async def test_at_sign_up(app: AuthApp, path: str) -> None:
    for password, code in REFUSED.items():
        reply = await new_user(app, password, path=path)
        assert (reply.status_code, reply.json()["code"]) == (400, code), password
    assert await app.rows('SELECT count(*) FROM "user"') == [(0,)]
    assert (await new_user(app, path=path)).status_code in {200, 201}


async def test_at_sign_up_by_a_form(app: AuthApp) -> None:
    for password, code in REFUSED.items():
        reply = await app.post("/api/v1/auth/signup", {"name": "Ada Lovelace", "email": ADA, "password": password})
        assert (reply.status_code, reply.json()["code"]) == (400, code.lower()), password


async def test_at_sign_up_with_an_address_to_verify(tmp_path: Path) -> None:
    async with running_service(tmp_path, QuickHasher(), email_verification="required") as app:
        for password, code in REFUSED.items():
            assert (await new_user(app, password)).json()["code"] == code


async def test_at_a_change(app: AuthApp) -> None:
    token = (await new_user(app)).json()["token"]
    for password, code in REFUSED.items():
        body = {"currentPassword": PASSWORD, "newPassword": password}
        reply = await app.post("/api/auth/change-password", body, **bearer(token))
        assert (reply.status_code, reply.json()["code"]) == (400, code), password


async def test_at_a_reset_whose_link_and_code_can_be_used_again(app: AuthApp, outbox: OutboxReader) -> None:
    await new_user(app)
    await app.post("/api/auth/request-password-reset", {"email": ADA})
    link = outbox.token(ADA)
    for password, code in REFUSED.items():
        reply = await app.post("/api/auth/reset-password", {"token": link, "newPassword": password})
        assert (reply.status_code, reply.json()["code"]) == (400, code), password
    done = await app.post("/api/auth/reset-password", {"token": link, "newPassword": "another-pass-22"})
    assert done.status_code == 200
    await app.post("/api/auth/email-otp/request-password-reset", {"email": ADA})
    body = {"email": ADA, "otp": outbox.code(ADA)}
    for password, code in REFUSED.items():
        reply = await app.post("/api/auth/email-otp/reset-password", {**body, "password": password})
        assert (reply.status_code, reply.json()["code"]) == (400, code), password
    body["password"] = "another-pass-23"
    assert (await app.post("/api/auth/email-otp/reset-password", body)).status_code == 200


async def test_whoever_has_no_code_learns_nothing_of_the_users_name(app: AuthApp, outbox: OutboxReader) -> None:
    await new_user(app)
    told = set()
    for email in (ADA, "nobody@example.com"):
        await app.post("/api/auth/email-otp/request-password-reset", {"email": email})
        body = {"email": email, "otp": "wrong!", "password": "lovelace-1815"}
        reply = await app.post("/api/auth/email-otp/reset-password", body)
        told.add((reply.status_code, reply.content))
    assert len(told) == 1


async def test_by_administrators(tmp_path: Path) -> None:
    service = Service(tmp_path).start()
    try:
        made = service.run("users", "create-admin", "root@example.com", "--password-stdin", stdin="password123\n")
        assert made.returncode == 1
        assert "one of the most common" in made.stderr
        made = service.run("users", "create-admin", "root@example.com", "--password-stdin", stdin=PASSWORD)
        assert made.returncode == 0, made.stderr
        auth = f"{service.url}/api/auth"
        known = {"email": "root@example.com", "password": PASSWORD}
        token = httpx.post(f"{auth}/sign-in/email", json=known, timeout=30).json()["token"]
        user = {"email": ADA, "name": "Ada Lovelace", "password": PASSWORD}
        created = httpx.post(f"{auth}/admin/create-user", json=user, headers=bearer(token), timeout=30).json()
        for password, code in REFUSED.items():
            other = {**user, "email": "other@example.com", "password": password}
            reply = httpx.post(f"{auth}/admin/create-user", json=other, headers=bearer(token), timeout=30)
            assert (reply.status_code, reply.json()["code"]) == (400, code), password
            body = {"userId": created["user"]["id"], "newPassword": password}
            reply = httpx.post(f"{auth}/admin/set-user-password", json=body, headers=bearer(token), timeout=30)
            assert (reply.status_code, reply.json()["code"]) == (400, code), password
    finally:
        service.stop()


async def test_who_has_such_a_password_already_still_signs_in(app: AuthApp) -> None:
    await new_user(app)
    weak = await app.auth.hasher.hash("password123")
    await app.write("UPDATE account SET password = ?", weak)
    reply = await app.post("/api/auth/sign-in/email", {"email": ADA, "password": "password123"})
    assert reply.status_code == 200
    body = {"currentPassword": "password123", "newPassword": "another-pass-22"}
    changed = await app.post("/api/auth/change-password", body, **bearer(reply.json()["token"]))
    assert changed.status_code == 200


# A service that knows breached ones --------------------------------------------------------------------


@asynccontextmanager
async def with_service(folder: Path, **passwords: int) -> AsyncIterator[tuple[AuthApp, PwnedPasswords]]:
    async with (
        pwned_passwords(**passwords) as pwned,
        running_service(folder, QuickHasher(), password_breach_url=pwned.url) as app,
    ):
        yield app, pwned


async def test_a_breached_password_is_refused_and_five_digits_of_its_hash_leave(tmp_path: Path) -> None:
    async with with_service(tmp_path, **{BREACHED: 7}) as (app, pwned):
        reply = await new_user(app, BREACHED)
        assert (reply.status_code, reply.json()["code"]) == (400, "PASSWORD_COMPROMISED")
        assert (await new_user(app)).status_code == 200
        paths = [path for path, _ in pwned.asked]
        assert [len(path) for path in paths] == [len("/range/21BD1")] * 2
        for _, headers in pwned.asked:
            assert headers["add-padding"] == "true"
            assert not {"cookie", "authorization", "x-forwarded-for"} & set(headers)


@pytest.mark.parametrize("fault", ["slow", "500", "endless", "nonsense", "redirect", "gone"])
async def test_a_service_that_fails_keeps_nobody_from_signing_up(tmp_path: Path, fault: str) -> None:
    async with with_service(tmp_path, **{BREACHED: 7}) as (app, pwned):
        pwned.fault = fault
        if fault == "gone":
            rules = app.auth.rules
            assert isinstance(rules.breached, BreachService)
            rules.breached._url = "http://127.0.0.1:9/range/"
        begun = time.monotonic()
        for n in range(5):
            assert (await new_user(app, BREACHED, f"ada{n}@example.com")).status_code == 200
        assert time.monotonic() - begun < 20, "it is waited for once, and then left alone for a while"
        if fault not in {"nonsense", "gone"}:
            assert len(pwned.asked) == 1
        # The built-in list needs nobody.
        assert (await new_user(app, "password123", "eve@example.com")).status_code == 400


async def test_after_half_a_minute_it_is_asked_again() -> None:
    now = [0.0]
    async with pwned_passwords(**{BREACHED: 7}) as pwned, httpx.AsyncClient() as http:
        service = BreachService(http, pwned.url, clock=lambda: now[0])
        pwned.fault = "500"
        assert not await service.knows(BREACHED)
        pwned.fault = ""
        assert not await service.knows(BREACHED)
        now[0] = 31.0
        assert await service.knows(BREACHED)


async def test_many_at_once_wait_no_longer_than_one() -> None:
    async with pwned_passwords(**{BREACHED: 7}) as pwned, open_breach_service(pwned.url) as service:
        pwned.fault = "slow"
        begun = time.monotonic()
        assert not any(await asyncio.gather(*(service.knows(f"{BREACHED}{n}") for n in range(50))))
        assert time.monotonic() - begun < 15


async def test_a_copy_on_this_machine_does_as_well(tmp_path: Path) -> None:
    copy = tmp_path / "ranges"
    copy.mkdir()
    prefix = digest_of(BREACHED)[:5]
    (copy / f"{prefix}.txt").write_text(PwnedPasswords({BREACHED: 7}).range(prefix, is_padded=False))
    (tmp_path / "data").mkdir()
    async with running_service(tmp_path / "data", QuickHasher(), password_breach_path=copy) as app:
        assert (await new_user(app, BREACHED)).json()["code"] == "PASSWORD_COMPROMISED"
        assert (await new_user(app)).status_code == 200
