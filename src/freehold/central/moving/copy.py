"""Moves a central database to another place without losing data.

First the source database rejects all writes, see `closing.py`. Then everything is copied over SQL and compared, and
only then does the copy get its final name. A move that is killed at any step can be started again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from freehold.central.file_probe import MOVED_MARK
from freehold.central.moving import closing
from freehold.central.moving.places import CentralNotMoved, CentralPlace, NewFile, require_free
from freehold.errors import CentralUnavailable, FreeholdError, Unavailable
from freehold.libsql.errors import LibsqlError
from freehold.migrate.copying import content_digests, copy_database
from freehold.migrate.fingerprint import OURS_SQL, ask, fingerprint
from freehold.migrate.names import quoted
from freehold.migrate.target import Target

# Exists in the copy until it is complete.
_HALF = "freehold_central_copy"
_OBJECTS_SQL = f"""SELECT type, name, lower(tbl_name), sql FROM sqlite_schema WHERE {OURS_SQL}
AND name NOT GLOB '{closing.TRIGGERS}' AND name NOT IN ('{MOVED_MARK}', '{_HALF}') ORDER BY type, name"""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows each table of the copy has. `was_done`: an earlier call did it, and this one did nothing."""

    place: str
    schema_version: str
    rows: dict[str, int]
    was_done: bool = False


async def move(
    source: CentralPlace, wanted: CentralPlace, now: str, on_rows: Callable[[int], None] = lambda _rows: None
) -> Moved:
    """Copy the central database to another, empty place, and close it for writes at the old one.

    Works while services run: every write acknowledged before the closing is in the copy, and none is acknowledged after
    it. Safe to repeat, but not twice at once: after an error the source is as before, after a kill the next call
    continues.

    Raises:
        CentralNotMoved: there is nothing to copy, the other place is not empty, or the copy differs.
        CentralUnavailable: one of the two does not answer.
    """
    async with _both(source, wanted) as old:
        mark = await closing.read_mark(old)
        if mark is not None and (mark.state == "copied" or await _is_whole(mark, wanted)):
            moved = await _moved_before(mark, wanted)
            await closing.note_copied(old)
            return moved
        return await _Move(old, wanted, now, on_rows).all()


async def check_move(source: CentralPlace, wanted: CentralPlace) -> dict[str, int]:
    """Check both places as `move` does, without changing anything; returns the number of rows in each table.

    Raises:
        CentralNotMoved, CentralUnavailable: as `move`.
    """
    async with _both(source, wanted) as old:
        mark = await closing.read_mark(old)
        if mark is None or mark.place != wanted.name:
            if wanted.path is not None:
                await asyncio.to_thread(require_free, wanted.path)
            else:
                async with wanted.opened() as new:
                    await _leftovers(new, wanted)
        return await _counts(old)


async def has_central(target: Target) -> bool:
    """Whether there is a central database."""
    [tables] = await ask(target, closing.TABLES_SQL)
    return ["alembic_version"] in tables


@asynccontextmanager
async def _both(source: CentralPlace, wanted: CentralPlace) -> AsyncIterator[Target]:
    """The source, after checking that it is a central database and not the wanted place."""
    try:
        async with source.opened() as old:
            if wanted.name == source.name:
                raise CentralNotMoved("that is where the central database is already; name another place")
            if not await has_central(old):
                raise CentralNotMoved(f"there is no central database at {source.name}")
            yield old
    except LibsqlError as error:
        raise CentralNotMoved(f"the URL cannot be used: {error.explanation}") from error
    except CentralUnavailable:
        raise
    except Unavailable as error:
        raise CentralUnavailable(f"a database does not answer: {error}") from error


async def _is_whole(mark: closing.Mark, wanted: CentralPlace) -> bool:
    """Whether the copy is complete, although the mark still says `copying`."""
    if mark.place != wanted.name or not await _may_be_there(wanted):
        return False
    async with wanted.opened() as copy:
        [tables] = await ask(copy, closing.TABLES_SQL)
        return ["alembic_version"] in tables and [_HALF] not in tables


async def _may_be_there(place: CentralPlace) -> bool:
    return place.path is None or await asyncio.to_thread(place.path.exists)


async def _moved_before(mark: closing.Mark, wanted: CentralPlace) -> Moved:
    if mark.place != wanted.name:
        raise CentralNotMoved(str(mark))
    if not await _may_be_there(wanted):
        raise CentralNotMoved(f"{mark}; there is no such file now")
    async with wanted.opened() as copy:
        if not await has_central(copy):
            raise CentralNotMoved(f"{mark}; there is no central database there now")
        rows, version = await _counts(copy), await _version(copy)
    return Moved(place=mark.place, schema_version=version, rows=rows, was_done=True)


class _Move:
    def __init__(self, old: Target, wanted: CentralPlace, now: str, on_rows: Callable[[int], None]) -> None:
        self._old = old
        self._wanted = wanted
        self._now = now
        self._on_rows = on_rows

    async def all(self) -> Moved:
        async with self._new() as (new, put_in_place):
            for name in await _leftovers(new, self._wanted):
                await closing.run(new, [f"DROP TABLE {quoted(name)}"])
            await closing.run(new, [f"CREATE TABLE {_HALF} (begun_at TEXT NOT NULL)"])
            try:
                await closing.close(self._old, self._wanted.name, self._now)
                moved = await self._copy(new)
                await asyncio.to_thread(put_in_place)
            except BaseException:
                # Whatever the error, running services can write again.
                with contextlib.suppress(FreeholdError):
                    await closing.reopen(self._old)
                raise
        # From here on the copy is authoritative: if this fails, the source stays closed and the next call finds the
        # copy.
        await closing.note_copied(self._old)
        return moved

    @asynccontextmanager
    async def _new(self) -> AsyncIterator[tuple[Target, Callable[[], None]]]:
        """The target of the copy, and a function that gives it its name. A file gets it only when complete."""
        if self._wanted.path is None:
            async with self._wanted.opened() as target:
                yield target, lambda: None
            return
        file = await asyncio.to_thread(NewFile, self._wanted.path)
        try:
            yield file.target, file.put_in_place
        finally:
            await asyncio.to_thread(file.close)

    async def _copy(self, new: Target) -> Moved:
        old = self._old
        copied = await copy_database(old, new, self._on_rows)
        if copied.skipped:
            raise CentralNotMoved(f"that database does not accept everything: {'; '.join(copied.skipped[:3])}")
        await closing.run(new, await closing.drops(new))
        before, after = await content_digests(old), await content_digests(new)
        before.pop(MOVED_MARK)
        after.pop(_HALF)
        if odd := sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)):
            raise CentralNotMoved(f"these tables differ in the copy: {', '.join(odd)}")
        if await _objects(old) != await _objects(new):
            raise CentralNotMoved("the schema differs in the copy")
        faults, orphans = await ask(new, "PRAGMA integrity_check", "PRAGMA foreign_key_check")
        if faults != [["ok"]] or orphans:
            raise CentralNotMoved("the copy fails the integrity check")
        await closing.run(new, [f"DROP TABLE {_HALF}"])
        rows = {name: count for name, (count, _) in after.items()}
        return Moved(place=self._wanted.name, schema_version=await _version(new), rows=rows)


async def _leftovers(new: Target, wanted: CentralPlace) -> list[str]:
    """The tables left by a copy that was killed. Raises `CentralNotMoved` if there is anything else."""
    [found] = await ask(new, closing.TABLES_SQL)
    tables = [str(name) for [name] in found]
    if tables and _HALF not in tables:
        raise CentralNotMoved(f"{wanted.name} is not empty: it has tables; choose another place")
    return sorted(tables, key=lambda name: name == _HALF)  # that one last, in case this is killed too


async def _counts(target: Target) -> dict[str, int]:
    [tables] = await ask(target, closing.TABLES_SQL)
    names = [str(name) for [name] in tables if name not in {MOVED_MARK, _HALF}]
    counts = await ask(target, *(f"SELECT count(*) FROM {quoted(name)}" for name in names))
    return {name: int(str(rows[0][0])) for name, rows in zip(names, counts, strict=True)}


async def _objects(target: Target) -> str:
    [rows] = await ask(target, _OBJECTS_SQL)
    return fingerprint(rows)


async def _version(target: Target) -> str:
    [rows] = await ask(target, "SELECT version_num FROM alembic_version")
    return ", ".join(str(version) for [version] in rows)
