"""Leases on rows, by which processes share the work on tenants, pending operations and rollouts.

A row is due from `due_at_ms` on. Claiming a row postpones that time, so the due time is the lease. It only grows from
one claim to the next, so it is also the fencing token: results are recorded only if the row still has the due time that
the claim set. When a process dies, another one can claim its rows once that time has passed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, Table, Update, and_, select, text, update


@dataclass(frozen=True)
class Leases:
    """Statements about the rows of `table` that satisfy `work`; among these, `key` is unique.

    Values may be bound parameters, so that a statement can be compiled once.
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
        """Claim the rows that have been due longest. Only one of two transactions gets a row."""
        longest = self.table.c.due_at_ms
        due = select(self.key).where(self.due(among, due_by_ms)).order_by(longest).limit(limit)
        claiming = update(self.table).where(self.work, self.key.in_(due))
        return claiming.values(due_at_ms=lease_until_ms, **values)

    def held(self, key: Any, lease_until_ms: Any) -> ColumnElement[bool]:
        """Whether the lease on a row is still ours: nobody has claimed the row since, or changed its work."""
        return and_(self.key == key, self.table.c.due_at_ms == lease_until_ms, self.work)

    def renew(self, leases: Mapping[str, int], lease_until_ms: int) -> Update:
        """Extend the leases that are still ours; returns their keys. One statement for any number of them."""
        ours = text(
            f"({self.key}, {self.table.name}.due_at_ms) IN"
            " (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:leases))"
        ).bindparams(leases=msgspec.json.encode(list(leases.items())).decode())
        renewing = update(self.table).where(self.work, ours)
        return renewing.values(due_at_ms=lease_until_ms).returning(self.key)

    def next_due(self, among: ColumnElement[bool]) -> Select[Any]:
        """When the next row is due or its lease ends; no row if there is no work."""
        due_at_ms = self.table.c.due_at_ms
        return select(due_at_ms).where(due_at_ms.is_not(None), self.work, among).order_by(due_at_ms).limit(1)
