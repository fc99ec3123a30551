"""A registry on a real central file, as the tests here need it."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.central.changes import FileChanges
from freehold.central.engine import open_central
from freehold.central.registry import CentralRegistry
from freehold.central.upgrade import upgrade_central
from freehold.migrate.types import Migration
from freehold.registry.cache import SnapshotCache
from freehold.registry.service import Registry
from freehold.registry.signing import Ed25519Signer, signer_of

SIGNER = signer_of(Ed25519PrivateKey.generate())
OTHER_SIGNER = signer_of(Ed25519PrivateKey.generate())


@asynccontextmanager
async def open_registry(path: Path, signer: Ed25519Signer = SIGNER) -> AsyncIterator[Registry]:
    """As one process has it; several on the same file are like several processes."""
    central = open_central(path)
    await upgrade_central(central)
    changes = FileChanges(central, path)
    store = CentralRegistry(central)
    try:
        yield Registry(store, SnapshotCache(store, changes), signer)
    finally:
        changes.close()
        await central.close()


def history(count: int) -> list[Migration]:
    """Migrations 1 to `count`; the second runs with foreign keys off and has two statements."""
    scripts = [
        f"-- description: Table number {version}.\nCREATE TABLE t{version} (x);\n"
        for version in range(1, count + 1)
    ]
    if count > 1:
        scripts[1] = "-- foreign_keys: off\nDROP TABLE t1; CREATE TABLE t1 (x, y);\nCREATE TABLE t2 (x);\n"
    return [
        Migration(version=version, name=f"add_t{version}", sql=sql)
        for version, sql in enumerate(scripts, start=1)
    ]


def by_hand(path: Path, sql: str, values: Sequence[Any] = ()) -> None:
    """Change the central file behind the service's back."""
    with sqlite3.connect(path) as db:
        db.execute(sql, values)
    db.close()
