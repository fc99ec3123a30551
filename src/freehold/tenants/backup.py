"""Check a SQLite file before a tenant's database is created from it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from freehold.errors import FreeholdError, InvalidInput, Unavailable
from freehold.migrate.apply import apply
from freehold.migrate.fingerprint import ask
from freehold.migrate.integrity import OF_INDEX
from freehold.migrate.ledger import LEDGER_TABLE, ledger_rows
from freehold.migrate.schema import Schema, read_schema
from freehold.migrate.snapshot import Scratch
from freehold.migrate.target import Target
from freehold.registry.published import PublishedRegistry

_SHOWN = 5


class BadBackup(InvalidInput):
    """The file cannot become this service's database: it is damaged, has a different history, or is ahead of the
    registry."""

    code = "bad_backup"
    remedy = "Use another file; `faults` has every reason."

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)


# Opens a SQLite file as a read-only target. Raises `BadBackup`.
OpenFile = Callable[[Path], AbstractAsyncContextManager[Target]]


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a sound file holds. `changed` names what differs from what the migrations up to its version created."""

    schema_version: int
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BackupCheck:
    """`scratch` opens an empty database in which the registry is replayed for comparison."""

    scratch: Scratch

    async def check(self, file: Target, published: PublishedRegistry) -> Checked:
        """Check that the file is intact and its state is part of this registry's history.

        Raises:
            BadBackup: it is damaged, has no ledger, another history, or is ahead of the registry.
            Unavailable: it takes too long to read.
        """
        try:
            await _require_whole(file)
            version = await _version(file, published)
            found = await read_schema(file)
        except (BadBackup, Unavailable):
            raise
        except FreeholdError as error:
            raise BadBackup([f"the file cannot be read as a database: {error}"]) from error
        return Checked(schema_version=version, changed=await self._changed(found, published, version))

    async def _changed(self, found: Schema, published: PublishedRegistry, version: int) -> tuple[str, ...]:
        """Users may add objects; what the registry created must exist unchanged."""
        async with self.scratch() as replayed:
            await apply(replayed, published.migrations, to=version)
            wanted = await read_schema(replayed)
        changed = []
        for kind in ("tables", "indexes", "views", "triggers"):
            there = getattr(found, kind)
            for name, each in getattr(wanted, kind).items():
                if name not in there:
                    changed.append(f"{each.name} is missing")
                elif there[name].shape != each.shape:
                    changed.append(f"{each.name} is not as the migrations made it")
        return tuple(changed)


async def _require_whole(file: Target) -> None:
    [found] = await ask(file, "PRAGMA integrity_check")
    faults = [str(fault) for (fault,) in found if fault != "ok" and not OF_INDEX.match(str(fault))]
    if faults:
        raise BadBackup([f"the file is damaged: {fault}" for fault in faults[:_SHOWN]])


async def _version(file: Target, published: PublishedRegistry) -> int:
    rows = await ledger_rows(file)
    if not rows:
        raise BadBackup([f"the file has no table {LEDGER_TABLE}: it is not a tenant's database"])
    if len(rows) > published.version:
        raise BadBackup([f"the file is at version {len(rows)}, and the newest published one is {published.version}"])
    for at, (row, known) in enumerate(zip(rows, published.rows, strict=False), start=1):
        if row.version != at or row.chain != known.chain:
            raise BadBackup([f"the file has another history than this registry, from version {at} on"])
    return len(rows)
