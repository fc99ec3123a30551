"""Two people on one service, and what one of them tries against the other's database."""

import base64
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from testbed.servers import Service
from testbed.sqld import Sqld, running_sqld
from testbed.sqld_service import sqld_variables

from freehold.providers.local.files import TenantFiles
from tests.e2e.attack_wire import Answer, Wire
from tests.e2e.people import Person, run_sql, sign_up

HOMES = ("local", "sqld")
"""Where the tenants of a world may live."""
MINE, THEIRS = "row-of-the-attacker", "row-of-the-victim-5f1c2ab9"


@dataclass(frozen=True)
class Neighbours:
    """`a` attacks `b`. Both have a table `marker` with one row that tells whose it is."""

    service: Service
    sqld: Sqld | None
    wire: Wire
    victims_wire: Wire
    a: Person
    b: Person
    a_credentials: dict[str, Any]
    b_credentials: dict[str, Any]

    @property
    def words(self) -> dict[str, str]:
        """What the attacker may put into an attack: more than a real one could know."""
        b_file = self.file_of(self.b_name)
        return {
            "a": self.a_name,
            "b": self.b_name,
            "B": self.b_name.upper(),
            "b64": base64.b64encode(self.b_name.encode()).decode(),
            "token": self.a_token,
            "session": self.a.token,
            "b_user": self.b.user_id,
            "b_email": self.b.email,
            "file": str(b_file),
            "up": f"../../{b_file.parent.parent.name}/{b_file.parent.name}/{b_file.name}",
            "hex": str(b_file).encode().hex(),
            "central": str(self.service.data_dir / "central.db"),
            "dir": str(self.service.data_dir),
        }

    @property
    def a_name(self) -> str:
        return str(self.a_credentials["db_name"])

    @property
    def b_name(self) -> str:
        return str(self.b_credentials["db_name"])

    @property
    def a_token(self) -> str:
        return str(self.a_credentials["access_token"])

    def fill(self, text: str) -> str:
        """`{a}`, `{b}` and the other words in their places; other braces stay."""
        for word, value in self.words.items():
            text = text.replace("{" + word + "}", value)
        return text

    def file_of(self, name: str) -> Path:
        if self.sqld is not None:
            return self.sqld.folder / "data" / "dbs" / name / "data"
        return TenantFiles(self.service.data_dir / "tenants").path_of(name)

    def key(self, name: str) -> Ed25519PrivateKey:
        """A private key of the service itself, for tokens that only it could have signed."""
        if self.sqld is not None and name == "database-tokens.pem":
            return self.sqld.key
        found = load_pem_private_key((self.service.data_dir / "keys" / name).read_bytes(), None)
        assert isinstance(found, Ed25519PrivateKey)
        return found

    def run(self, *sql: str, token: str = "", name: str = "", **more: Any) -> Answer:
        """One pipeline, by default the attacker's on the attacker's own database."""
        target = f"/db/{name or self.a_name}/v3/pipeline"
        return self.wire.post(target, pipeline(*sql, **more), token or self.a_token)

    def files(self) -> set[str]:
        """All that lies in the folders of the service and of sqld, but for what these keep beside a database."""
        folders = [self.service.folder, *([] if self.sqld is None else [self.sqld.folder])]
        return {
            str(path) for folder in folders for path in folder.rglob("*") if path.is_file() and not _is_passing(path)
        }


@contextmanager
def world_in(home: str, folder: Path, profile: str = "full", **variables: str) -> Iterator[Neighbours]:
    """A service of its own, with its tenants in one of `HOMES`, and tokens that may do all that the profile may.

    The tables are there before: with a narrower profile the service starts again, and the tokens are the same.
    """
    with ExitStack() as stack:
        sqld = stack.enter_context(running_sqld()) if home == "sqld" else None
        variables = {**({} if sqld is None else sqld_variables(sqld)), **variables}
        service = Service(folder, **variables, DATABASE_TOKEN_PROFILE="full").start()
        stack.callback(service.stop)
        world = stack.enter_context(world_on(service, sqld))
        if profile != "full":
            service.stop()
            service.variables["DATABASE_TOKEN_PROFILE"] = profile
            service.start()
        yield world


@contextmanager
def world_on(service: Service, sqld: Sqld | None = None) -> Iterator[Neighbours]:
    """Two new people with ready databases, and everything watched."""
    wire = Wire(service.port)
    a, b = (sign_up(service.url, f"{who}-{secrets.token_hex(6)}@example.com") for who in ("eve", "bob"))
    world = Neighbours(service, sqld, wire, Wire(service.port), a, b, a.credentials(), b.credentials())
    for credentials, row in ((world.a_credentials, MINE), (world.b_credentials, THEIRS)):
        run_sql(credentials, "CREATE TABLE marker (x TEXT)", f"INSERT INTO marker VALUES ('{row}')")
    wire.secrets.update(
        {
            "a row of somebody else": THEIRS.encode(),
            "somebody else's token": world.b_credentials["access_token"].encode(),
            "somebody else's session": b.token.encode(),
            "somebody else's address": b.email.encode(),
            "a path of the service": str(service.data_dir).encode(),
        }
    )
    if sqld is not None:
        wire.secrets["a path of sqld"] = str(sqld.folder).encode()
    yield world


def _is_passing(path: Path) -> bool:
    """SQLite's own beside an open database, and what sqld writes by itself."""
    return path.name.endswith(("-wal", "-shm", "-journal", ".log")) or ("dbs" in path.parts and path.name != "data")


def still_whole(world: Neighbours) -> None:
    """What must be true after every attack: nothing of the victim's changed, and the service is well."""
    answer = world.victims_wire.post(
        f"/db/{world.b_name}/v3/pipeline", pipeline("SELECT x FROM marker"), world.b_credentials["access_token"]
    )
    assert answer.status == 200, answer
    result = answer.json["results"][0]["response"]["result"]
    assert result["rows"] == [[{"type": "text", "value": THEIRS}]]
    assert world.wire.get("/health").status == 200


def pipeline(*sql: str, baton: str | None = None, closes: bool = True) -> dict[str, Any]:
    requests: list[dict[str, Any]] = [{"type": "execute", "stmt": {"sql": each}} for each in sql]
    if closes:
        requests.append({"type": "close"})
    return {"baton": baton, "requests": requests}


WAYS = (
    "execute",
    "stored",
    "batch",
    "sequence",
    "sequence after another",
    "describe",
    "v1/execute",
    "v1/batch",
    "cursor",
)
"""Every way that SQL gets into a database."""


def run_by(world: Neighbours, way: str, sql: str, token: str = "") -> tuple[Answer, list[str]]:
    """The answer to this SQL, and the errors in it."""
    stmt = {"sql": sql}
    requests: dict[str, list[dict[str, Any]]] = {
        "execute": [{"type": "execute", "stmt": stmt}],
        "stored": [{"type": "store_sql", "sql_id": 1, "sql": sql}, {"type": "execute", "stmt": {"sql_id": 1}}],
        "batch": [{"type": "batch", "batch": {"steps": [{"stmt": stmt}]}}],
        "sequence": [{"type": "sequence", "sql": sql}],
        "sequence after another": [{"type": "sequence", "sql": f"SELECT 1; {sql}"}],
        "describe": [{"type": "describe", "sql": sql}],
    }
    if way in requests:
        target, body = "v3/pipeline", {"requests": [*requests[way], {"type": "close"}]}
    elif way == "v1/execute":
        target, body = way, {"stmt": stmt}  # type: ignore[dict-item]
    else:
        target = way if way == "v1/batch" else "v3/cursor"
        body = {"batch": {"steps": [{"stmt": stmt}]}}  # type: ignore[dict-item]
    answer = world.wire.post(f"/db/{world.a_name}/{target}", body, token or world.a_token)
    lines = [json.loads(line) for line in answer.body.splitlines() if line.strip()]
    return answer, list(_errors(lines))


def _errors(found: Any) -> Iterator[str]:
    """Every `code: message` anywhere in an answer."""
    if isinstance(found, list):
        for each in found:
            yield from _errors(each)
    elif isinstance(found, dict):
        if isinstance(found.get("message"), str):
            yield f"{found.get('code')}: {found['message']}"
        for each in found.values():
            yield from _errors(each)


# Tokens ------------------------------------------------------------------------------------------

STRANGER = Ed25519PrivateKey.generate()


def claims(world: Neighbours, **changed: Any) -> dict[str, Any]:
    """Claims that would open the victim's database; a value of None takes the claim away."""
    now = int(time.time())
    full = {"a": "rw", "id": world.b_name, "sub": world.a.user_id, "iat": now, "exp": now + 600, **changed}
    return {name: value for name, value in full.items() if value is not None}


def signed(key: Any, body: dict[str, Any], algorithm: str = "EdDSA", **headers: Any) -> str:
    return jwt.encode(body, key, algorithm=algorithm, headers=headers or None)


def unsigned(body: dict[str, Any], signature: bytes = b"", **header: Any) -> str:
    parts = [json.dumps({"typ": "JWT", **header}).encode(), json.dumps(body).encode(), signature]
    return ".".join(map(_base64url, parts))


def spliced(token: str, body: dict[str, Any], **header: Any) -> str:
    """A genuine token with another payload (and header), under its old signature."""
    old_header, _, signature = token.split(".")
    new_header, payload, _ = unsigned(body, **header).split(".")
    return f"{new_header if header else old_header}.{payload}.{signature}"


def hmac_signed(body: dict[str, Any], key: bytes) -> str:
    """HS256 by hand: the library refuses to misuse a public key like this."""
    text = unsigned(body, alg="HS256").rstrip(".")
    return f"{text}.{_base64url(hmac.digest(key, text.encode(), 'sha256'))}"


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public_raw(key))}


def _base64url(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
