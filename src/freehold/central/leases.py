"""The lease on a row: how processes share work, written down once for tenants, pending operations and rollouts.

A row is due from `due_at_ms` on. Claiming it puts that time off, so the due time is the lease. As it only ever
grows from one claim to the next, it is the fencing token too: what came of the work is recorded where the row still
has the time that it was claimed with. Whoever died is replaced when that time has passed, by whoever looks next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, Table, Update, and_, select, text, update


@dataclass(frozen=True)
class Leases:
    """Statements about the rows of `table` for which `work` holds; among these, `key` is unique.

    Values may be bound parameters, so that a statement can be put together once.
    """

    table: Table
    key: ColumnElement[Any]
    work: ColumnElement[bool]

    def due(self, among: ColumnElement[bool], due_by_ms: Any) -> ColumnElement[bool]:
        """Whether a row may be claimed at that time."""
        return and_(self.table.c.due_at_ms <= due_by_ms, self.work, among)

    def claim(
        self, among: ColumnElement[bool], *, due_by_ms: Any, lease_until_ms: Any, limit: Any, **values: Any
    ) -> Update:
        """Take those that have been due for longest. Of two transactions only one gets a row."""
        longest = self.table.c.due_at_ms
        due = select(self.key).where(self.due(among, due_by_ms)).order_by(longest).limit(limit)
        claiming = update(self.table).where(self.work, self.key.in_(due))
        return claiming.values(due_at_ms=lease_until_ms, **values)

    def held(self, key: Any, lease_until_ms: Any) -> ColumnElement[bool]:
        """Whether a row is still ours: nobody has claimed it since, or changed what is to be done."""
        return and_(self.key == key, self.table.c.due_at_ms == lease_until_ms, self.work)

    def renew(self, leases: Mapping[str, int], lease_until_ms: int) -> Update:
        """Put off the ends of those leases that are still ours; returns their keys.

        One statement, and one round trip, for any number of them.
        """
        ours = text(
            f"({self.key}, {self.table.name}.due_at_ms) IN"
            " (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:leases))"
        ).bindparams(leases=msgspec.json.encode(list(leases.items())).decode())
        renewing = update(self.table).where(self.work, ours)
        return renewing.values(due_at_ms=lease_until_ms).returning(self.key)

    def next_due(self, among: ColumnElement[bool]) -> Select[Any]:
        """When the first one is due, or its lease ends; no row when nothing is to be done."""
        due_at_ms = self.table.c.due_at_ms
        return select(due_at_ms).where(due_at_ms.is_not(None), self.work, among).order_by(due_at_ms).limit(1)
