"""Tells the audit trail which request the running code answers."""

from collections.abc import Awaitable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from freehold.audit.origin import Origin, work_begins
from freehold.audit.types import ANONYMOUS
from freehold.http.client_address import ClientAddresses


class AuditOrigins:
    """ASGI wrapper, inside the request log, which gives the request its id."""

    def __init__(self, app: ASGIApp, addresses: ClientAddresses) -> None:
        self._app = app
        self._addresses = addresses

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == ScopeType.HTTP:
            work_begins(_RequestOrigin(scope, self._addresses))
        return self._app(scope, receive, send)


class _RequestOrigin(Origin):
    """Finds out where the request came from when an event is recorded; most requests record none."""

    __slots__ = ("_addresses", "_scope")

    def __init__(self, scope: Scope, addresses: ClientAddresses) -> None:
        super().__init__(ANONYMOUS)
        self._scope: Any = scope
        self._addresses = addresses

    @property
    def ip_address(self) -> str:
        """The client's; without a proxy of ours in between, whoever is connected."""
        return self._addresses.seen(self._scope)

    @property
    def request_id(self) -> str:
        found: str = self._scope.get("freehold_request_id", "")
        return found
