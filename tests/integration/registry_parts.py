"""A registry on a real central file, as the tests here need it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.central.registry import CentralRegistry
from freehold.migrate.types import Migration
from freehold.registry.published import PublishedRegistryCache
from freehold.registry.service import Registry
from freehold.registry.signed import Ed25519Signer, signer_of
from tests.support.central_place import CentralPlace

SIGNER = signer_of(Ed25519PrivateKey.generate())
OTHER_SIGNER = signer_of(Ed25519PrivateKey.generate())


@asynccontextmanager
async def open_registry(place: CentralPlace | Path, signer: Ed25519Signer = SIGNER) -> AsyncIterator[Registry]:
    """As one process has it; several on the same database are like several processes. A path is a file's."""
    place = place if isinstance(place, CentralPlace) else CentralPlace(path=place)
    async with place.opened() as (central, changes):
        store = CentralRegistry(central)
        yield Registry(store, PublishedRegistryCache(store, changes), signer)


def history(count: int) -> list[Migration]:
    """Migrations 1 to `count`; the second runs with foreign keys off and has two statements."""
    scripts = [
        f"-- description: Table number {version}.\nCREATE TABLE t{version} (x);\n" for version in range(1, count + 1)
    ]
    if count > 1:
        scripts[1] = "-- foreign_keys: off\nDROP TABLE t1; CREATE TABLE t1 (x, y);\nCREATE TABLE t2 (x);\n"
    return [Migration(version=version, name=f"add_t{version}", sql=sql) for version, sql in enumerate(scripts, start=1)]


def by_hand(path: Path, sql: str, values: Sequence[Any] = ()) -> None:
    """Change the central file behind the service's back."""
    CentralPlace(path=path).by_hand(sql, values)
