"""Settings and decks of an older installation, in its own tables. Implements `LegacyRows`."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.central.engine import Central
from freehold.errors import InvalidInput
from freehold.tenants.legacy import TABLES, Row

_PAGE = 500
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USER_COLUMNS = ("user_id", "userId")


@dataclass(frozen=True, slots=True)
class CentralLegacyRows:
    """`names` maps to the names of the old tables. The user of a row is in its column `user_id` or `userId`."""

    central: Central
    names: Mapping[str, str]

    async def tables(self) -> Sequence[str]:
        async with self.central.read() as db:
            return [table for table in TABLES if await self._user_column(db, table)]

    async def users(self) -> AsyncIterator[str]:
        after = ""
        while page := await self._page(after):
            after = page[-1]
            for user_id in page:
                yield user_id

    async def of_user(self, user_id: str) -> Mapping[str, Sequence[Row]]:
        async with self.central.read() as db:
            return await self._rows(db, user_id)

    async def remove(self, user_id: str, expected: Mapping[str, Sequence[Row]]) -> bool:
        async with self.central.write() as db:
            if await self._rows(db, user_id) != expected:
                return False
            for table in expected:
                column = await self._user_column(db, table)
                await db.execute(text(f'DELETE FROM "{self._name(table)}" WHERE "{column}" = :user'), {"user": user_id})
        return True

    async def _page(self, after: str) -> list[str]:
        found: set[str] = set()
        async with self.central.read() as db:
            for table in TABLES:
                if column := await self._user_column(db, table):
                    sql = (
                        f'SELECT DISTINCT "{column}" FROM "{self._name(table)}" '
                        f'WHERE "{column}" > :after ORDER BY 1 LIMIT {_PAGE}'
                    )
                    found |= {str(user) for user in (await db.execute(text(sql), {"after": after})).scalars()}
        return sorted(found)[:_PAGE]

    async def _rows(self, db: AsyncConnection, user_id: str) -> Mapping[str, Sequence[Row]]:
        rows: dict[str, Sequence[Row]] = {}
        for table in TABLES:
            if column := await self._user_column(db, table):
                sql = f'SELECT * FROM "{self._name(table)}" WHERE "{column}" = :user ORDER BY rowid'
                found = (await db.execute(text(sql), {"user": user_id})).mappings()
                rows[table] = [{_snake(name): value for name, value in row.items() if name != column} for row in found]
        return rows

    async def _user_column(self, db: AsyncConnection, table: str) -> str | None:
        sql = text("SELECT name FROM pragma_table_info(:name)")
        columns = set((await db.execute(sql, {"name": self._name(table)})).scalars())
        return next((name for name in _USER_COLUMNS if name in columns), None)

    def _name(self, table: str) -> str:
        name = self.names.get(table, table)
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"`{name}` is not the name of a table")
        return name


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
