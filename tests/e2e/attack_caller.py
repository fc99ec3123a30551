"""Somebody who sends what should not be sent, and the look into the log afterwards."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from testbed.servers import Service

from tests.e2e.attack_routes import PASSWORD
from tests.e2e.attack_wire import Answer, Headers, Wire, bearer
from tests.e2e.people import Person, sign_up

ADMIN = "admin@example.com"
JSON = (b"Content-Type", b"application/json")

ODD_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    float("inf"),
    [],
    ["a"],
    {},
    {"a": 1},
    "",
    " ",
    "\0",
    "a\0b",
    "x" * 50_000,
    "\u202e",
    "\U0001f600" * 100,
    "' OR 1=1 --",
    "1",
    "../../etc/passwd",
]
"""To put where something else is expected."""


ENDS_SESSIONS = ("/sign-out", "/logout", "/revoke-sessions", "/revoke-other-sessions", "/delete-user")


@dataclass(frozen=True)
class ApiCaller:
    """Somebody with every credential, so that requests get as far as they can."""

    wire: Wire
    service: Service
    person: Person
    admin_token: str
    credentials: dict[str, Any]

    def target(self, target: str) -> str:
        return target.replace("{name}", self.credentials["db_name"])

    def token_for(self, target: str) -> str:
        if target.endswith(ENDS_SESSIONS):
            return "nobody"
        if target.startswith("/db"):
            return str(self.credentials["access_token"])
        return self.admin_token

    def post(self, target: str, body: Any, *more: tuple[bytes, bytes], chunked: bool = False) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = () if any(name == b"Content-Type" for name, _ in more) else (JSON,)
        headers: Headers = (*kind, bearer(self.token_for(target)), *more)
        return self.wire.send("POST", self.target(target), headers, raw, chunked=chunked)

    @property
    def secrets(self) -> dict[str, str]:
        """What the log must not hold."""
        token = self.credentials["access_token"]
        return {
            "the password": PASSWORD,
            "the admin's session": self.admin_token,
            "the session": self.person.token,
            "the database token": token,
            "its signature": token.rpartition(".")[2],
        }


@contextmanager
def caller_on(service: Service) -> Iterator[ApiCaller]:
    """The caller; at the end the log must hold no secret and no fault of ours."""
    made = service.run("users", "create-admin", ADMIN, "--password-stdin", stdin=PASSWORD)
    assert made.returncode == 0, made.stderr
    person = sign_up(service.url)
    wire = Wire(service.port)
    answer = wire.post("/api/auth/sign-in/email", {"email": ADMIN, "password": PASSWORD})
    wire.secrets["a path of the service"] = str(service.data_dir).encode()
    found = ApiCaller(wire, service, person, answer.json["token"], person.credentials())
    yield found
    time.sleep(0.2)  # the log is written a moment later
    log = service.log()
    for what, secret in found.secrets.items():
        assert secret not in log, f"the log holds {what}"
    faults = [line for line in log.splitlines() if "Traceback" in line or "exc_info" in line]
    assert faults == [], faults[0]
    assert not re.search(r'"level": ?"(error|critical)"', log)
    assert not re.search(r'"status": ?5', log)
    longest = max(log.splitlines(), key=len)
    assert len(longest) < 4000, f"a stranger fills the log: {longest[:2000]}"
