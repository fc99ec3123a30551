"""The keys that sign JWTs, in the central database. Implements `freehold.auth.ports.SigningKeyStore`."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import RowMapping, func, select

from freehold.audit.types import Event
from freehold.auth.types import StoredKey
from freehold.central.engine import Central
from freehold.central.tables import change, jwks

_SEEN = select(func.coalesce(func.max(change.c.seq), 0))


@dataclass(frozen=True, slots=True)
class CentralSigningKeys:
    """Each method is one short transaction."""

    central: Central

    async def load_keys(self) -> tuple[Sequence[StoredKey], int]:
        async with self.central.read() as db:
            rows = (await db.execute(select(jwks).order_by(jwks.c.createdAt.desc(), jwks.c.id))).mappings()
            seen = (await db.execute(_SEEN)).scalar_one()
        return [_stored(row) for row in rows], int(seen)

    async def replace_keys(
        self,
        new: StoredKey,
        *,
        seen: Sequence[StoredKey],
        retired: Sequence[StoredKey],
        removed: Sequence[StoredKey],
    ) -> bool:
        async with self.central.write() as db:
            # The write lock is held from here on: of several that replace the same keys, one does.
            found = (await db.execute(select(jwks.c.id, jwks.c.expiresAt))).all()
            if {tuple(row) for row in found} != {(row.key_id, row.expires_at) for row in seen}:
                return False
            await db.execute(
                jwks.update().where(jwks.c.id.in_(_ids(retired))).values(expiresAt=new.created_at)
            )
            await db.execute(jwks.delete().where(jwks.c.id.in_(_ids(removed))))
            await db.execute(jwks.insert(), msgspec.to_builtins(new))
            await self.central.record(db, _added(new, retired, removed))
        return True


def _stored(row: RowMapping) -> StoredKey:
    return StoredKey(
        key_id=row["id"],
        public_key=row["publicKey"],
        private_key=row["privateKey"],
        created_at=row["createdAt"],
        expires_at=row["expiresAt"],
        alg=row["alg"],
        crv=row["crv"],
    )


def _added(new: StoredKey, retired: Sequence[StoredKey], removed: Sequence[StoredKey]) -> Event:
    return Event("jwt.key_added", f"key:{new.key_id}", {"retired": len(retired), "removed": len(removed)})


def _ids(keys: Sequence[StoredKey]) -> list[str]:
    return [key.key_id for key in keys]
