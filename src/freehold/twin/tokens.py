"""Database and group tokens as Turso makes them: EdDSA, with a key for each database that rotation replaces.

Claims: `a` (`rw` or `ro`), `id` (database) or `gid` (group), `iat`, `exp` unless it never expires. Permissions, even
empty ones, replace `a` with `p`, so a read-only token for which they were sent can write; Turso does the same.
"""

import hashlib
import re
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from freehold.errors import NotFound
from freehold.providers.grants import Grant
from freehold.providers.tokens import BadToken
from freehold.twin.catalogue import Catalogue, DatabaseRecord, GroupRecord
from freehold.twin.types import Permissions

_LEEWAY_S = 5.0
_UNIT_S = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:\d+[wdhms])+")
_KNOWN_TOKENS = 5000
LEVELS = {"full-access": "rw", "read-only": "ro"}


def parse_duration(text: str) -> int | None:
    """Seconds in `2w1d30m`; None for `never`. Raises `ValueError`."""
    if text in {"", "never", "none"}:
        return None
    if not _DURATION.fullmatch(text):
        raise ValueError(text)
    return sum(int(number) * _UNIT_S[unit] for number, unit in re.findall(r"(\d+)([wdhms])", text))


class DatabaseTokens:
    """Mints tokens, and verifies them for the gateway."""

    def __init__(self, catalogue: Catalogue, master_key: Ed25519PrivateKey) -> None:
        self._catalogue = catalogue
        self._seed = master_key.private_bytes_raw()
        self._keys: dict[str, Ed25519PrivateKey] = {}

    def mint(
        self,
        owner: DatabaseRecord | GroupRecord,
        authorization: str,
        lifetime_s: int | None,
        permissions: Permissions | None = None,
    ) -> str:
        """A token for a database, or for all of a group."""
        now = int(time.time())
        claims: dict[str, Any] = {"iat": now}
        if lifetime_s is not None:
            claims["exp"] = now + lifetime_s
        if isinstance(owner, DatabaseRecord):
            claims["id"] = owner.db_id
        else:
            claims["gid"] = owner.uuid
        if permissions is not None:
            attached = permissions.read_attach.databases if permissions.read_attach else []
            ids = [self._catalogue.databases[name].db_id for name in attached if name in self._catalogue.databases]
            claims["p"] = {"roa": {"ns": ids}}
        elif authorization:
            claims["a"] = LEVELS[authorization]
        return jwt.encode(claims, self._key(owner), algorithm="EdDSA")

    def verify(self, token: str, database_name: str) -> Grant:
        """What the token allows on the database. Raises `BadToken`, or `NotFound` if it is for another one."""
        claims = self._claims(token)
        record = self._catalogue.databases.get(database_name)
        if record is None or record.ready_at_s > time.time() or not self._is_for(claims, record):
            raise NotFound(f"Namespace `{database_name}` doesn't exist")
        return _grant(token, claims, record)

    def verify_only(self, token: str) -> Grant:
        """What the token allows on the database that it names itself."""
        claims = self._claims(token)
        record = self._catalogue.by_id(str(claims.get("id")))
        if record is None or "gid" in claims:
            raise BadToken("the token is not valid here: it must name one database")
        return _grant(token, claims, record)

    def _claims(self, token: str) -> dict[str, Any]:
        """The token's claims, verified with the key of its database or group."""
        named = _unverified(token)
        owner: DatabaseRecord | GroupRecord | None
        if "gid" in named:
            groups = self._catalogue.groups.values()
            owner = next((each for each in groups if each.uuid == named["gid"]), None)
        else:
            owner = self._catalogue.by_id(str(named.get("id")))
        if owner is None:  # sqld's message for a namespace that is gone
            raise NotFound("Namespace doesn't exist")
        return self._verified(token, owner)

    def _is_for(self, claims: dict[str, Any], record: DatabaseRecord) -> bool:
        if "gid" in claims:
            return bool(claims["gid"] == self._catalogue.groups[record.group].uuid)
        return bool(claims.get("id") == record.db_id)

    def _verified(self, token: str, owner: DatabaseRecord | GroupRecord) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key(owner).public_key(),
                algorithms=["EdDSA"],
                leeway=_LEEWAY_S,
                options={"verify_iat": False, "verify_aud": False},
            )
        except jwt.ExpiredSignatureError as error:
            raise BadToken("the token has expired") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise BadToken from error
        return claims

    def _key(self, owner: DatabaseRecord | GroupRecord) -> Ed25519PrivateKey:
        if isinstance(owner, DatabaseRecord):
            group = self._catalogue.groups[owner.group]
            name = f"{group.uuid}/{group.rotations}/{owner.db_id}/{owner.rotations}"
        else:
            name = f"{owner.uuid}/{owner.rotations}"
        key = self._keys.get(name)
        if key is None:
            if len(self._keys) >= _KNOWN_TOKENS:
                self._keys.clear()
            raw = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"freehold/twin/" + name.encode())
            key = self._keys[name] = Ed25519PrivateKey.from_private_bytes(raw.derive(self._seed))
        return key


def _grant(token: str, claims: dict[str, Any], record: DatabaseRecord) -> Grant:
    digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
    return Grant(record.db_id, "read_only" if claims.get("a") == "ro" else "full", digest)


def _unverified(token: str) -> dict[str, Any]:
    """The unverified claims, which say whose key signed them. They are trusted only after `_verified`."""
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise BadToken from error
    return claims
