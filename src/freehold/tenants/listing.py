"""List tenants: uses the central database only, no provider."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from freehold.tenants.types import Tenant, TenantState

T = TypeVar("T")

_PAGE = 500


class ListedTenants(Protocol):
    """Read access to the tenants' rows in the central database. All raise `CentralUnavailable`."""

    async def page(self, *, after: str = "", limit: int = 500, state: TenantState | None = None) -> Sequence[Tenant]:
        """Return tenants in order of `tenant_id`, starting after the given one."""

    async def counts(self) -> Mapping[TenantState, int]:
        """Return the number of tenants by state, without empty states."""

    async def emails(self, user_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the addresses of those of these users who exist."""


@dataclass(frozen=True, slots=True)
class TenantListing:
    """Iterates over tenants and counts them."""

    store: ListedTenants

    async def each(
        self, *, after: str = "", limit: int | None = None, state: TenantState | None = None
    ) -> AsyncIterator[Tenant]:
        """Yield tenants in order of `tenant_id`, read page by page to keep memory constant."""
        async for page in self._pages(after, limit, state):
            for tenant in page:
                yield tenant

    async def each_with_email(
        self, *, after: str = "", limit: int | None = None, state: TenantState | None = None
    ) -> AsyncIterator[tuple[Tenant, str | None]]:
        """Yield the same, each with its user's address; None if there is no such user, as for forks."""
        async for page in self._pages(after, limit, state):
            emails = await self.store.emails([tenant.user_id for tenant in page])
            for tenant in page:
                yield tenant, emails.get(tenant.user_id)

    async def _pages(self, after: str, limit: int | None, state: TenantState | None) -> AsyncIterator[Sequence[Tenant]]:
        left = limit
        while left is None or left > 0:
            wanted = _PAGE if left is None else min(_PAGE, left)
            page = await self.store.page(after=after, limit=wanted, state=state)
            if page:
                yield page
            if len(page) < wanted:
                return
            after = page[-1].tenant_id
            left = None if left is None else left - len(page)

    async def counts(self) -> Mapping[TenantState, int]:
        """Return the number of tenants by state, without empty states."""
        return await self.store.counts()


async def in_parts(items: AsyncIterator[T], size: int) -> AsyncIterator[list[T]]:
    """Yield this many at a time; the last part may be smaller."""
    part: list[T] = []
    async for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
