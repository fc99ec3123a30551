"""Signed releases as CI sends them to a running service, and who may send them."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import httpx
import msgspec
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from testbed.servers import Service

from freehold.cli.api_keys import api_keys
from freehold.cli.users import users
from freehold.migrate.types import Migration
from freehold.registry.signed import Ed25519Signer, expiry_s, listed, next_counter, sign_release, signer_of
from freehold.registry.types import PartFile
from tests.e2e.people import PASSWORD

Body = dict[str, Any]

CI_KEY = signer_of(Ed25519PrivateKey.generate())
STRANGERS_KEY = signer_of(Ed25519PrivateKey.generate())
ADMIN = "admin@example.com"


def table(version: int, *columns: str, comment: str = "-- a table\n") -> Migration:
    """A migration that makes a table named after its version."""
    sql = f"{comment}CREATE TABLE t{version} ({', '.join(columns or ('x',))});\n"
    return Migration(version=version, name=f"create_t{version}", sql=sql)


def tables(count: int) -> list[Migration]:
    return [table(version) for version in range(1, count + 1)]


def release(
    migrations: Sequence[Migration],
    signer: Ed25519Signer = CI_KEY,
    *,
    later_ms: int = 0,
    days: float = 30,
    parts: Sequence[PartFile] = (),
    **more: Any,
) -> Body:
    """The body of `POST /migrations/publish`; its counter is of the time, as `freehold registry sign` has it."""
    now_ms = int(time.time() * 1000)
    signed = sign_release(
        migrations,
        signer,
        counter=next_counter(now_ms, None) + later_ms,
        expires_at_s=expiry_s(now_ms, days),
        parts=listed(parts),
    )
    files = {"signed": signed, "migrations": migrations, "parts": parts}
    body: Body = json.loads(msgspec.json.encode(files))
    return {**body, **more}


class Publisher:
    """A service that holds no key of the registry, its administrator, and CI with a key to publish."""

    def __init__(self, folder: Path) -> None:
        # It needs no migrations of its own.
        nowhere = str(folder / "no-migrations")
        self.service = Service(folder, REGISTRY_SIGNING="elsewhere", SCHEMA_REGISTRY=nowhere).start()
        self.command(users, "create-admin", ADMIN, "--password-stdin", stdin=PASSWORD)
        body = {"email": ADMIN, "password": PASSWORD}
        found = httpx.post(f"{self.service.url}/api/auth/sign-in/email", json=body).raise_for_status().json()
        self.admin = {"authorization": f"Bearer {found['token']}"}
        signed_up = httpx.post(
            f"{self.service.url}/api/auth/sign-up/email",
            json={"name": "CI", "email": "ci@example.com", "password": PASSWORD},
        ).raise_for_status()
        self.owner = {"authorization": f"Bearer {signed_up.json()['token']}"}
        self.ci = self.api_key("registry:publish")

    def api_key(self, *scopes: str) -> dict[str, str]:
        """The header of a new key of CI, who is no administrator."""
        words = [word for scope in scopes for word in ("--scope", scope)]
        return {"x-api-key": self.command(api_keys, "create", "ci@example.com", *words).strip()}

    def command(self, noun: click.Group, *words: str, stdin: str = "") -> str:
        """What the command prints; as it is, without the seconds that a process of its own needs to start."""
        made = CliRunner().invoke(noun, words, env=self.service.environ, input=stdin)
        assert made.exit_code == 0, made.stderr
        return made.stdout

    def post(self, body: Body, headers: dict[str, str] | None = None) -> httpx.Response:
        return httpx.post(
            f"{self.service.url}/migrations/publish",
            json=body,
            headers=self.ci if headers is None else headers,
            timeout=60,
        )

    def publish(self, migrations: Sequence[Migration], **more: Any) -> Body:
        reply = self.post(release(migrations, **more))
        assert reply.status_code == 200, reply.text
        answer: Body = reply.json()
        return answer

    def page(self) -> Body:
        found: Body = httpx.get(f"{self.service.url}/migrations").raise_for_status().json()
        return found

    @property
    def version(self) -> int:
        return int(self.page()["version"])

    def recorded(self, action: str) -> list[Body]:
        """Entries of the audit trail, newest first."""
        reply = httpx.get(
            f"{self.service.url}/admin/audit", headers=self.admin, params={"action": action, "limit": 100}
        )
        entries: list[Body] = reply.raise_for_status().json()["entries"]
        return entries
