"""The token sent to a database: a value, or a function that returns one when it is needed."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from freehold.libsql.errors import LibsqlError

Token = str | Callable[[], str | Awaitable[str]] | None


class Bearer:
    """Keeps the last token until the server refuses it, then asks for a new one, once for all waiting requests."""

    def __init__(self, source: Token, *, keep: bool = True) -> None:
        self._source = source
        self._keep = keep
        self._token = _usable(source) if isinstance(source, str) else None
        self._lock = asyncio.Lock()

    @property
    def can_renew(self) -> bool:
        """Whether asking again may return another token."""
        return callable(self._source)

    async def get(self, *, refused: str | None = None) -> str:
        """The token, or "" for none. `refused` is one that the server no longer accepts."""
        if not callable(self._source):
            return self._token or ""
        if not self._keep:
            return await self._ask()
        async with self._lock:
            if self._token is None or self._token == refused:
                self._token = await self._ask()
            return self._token

    async def _ask(self) -> str:
        assert callable(self._source)
        given = self._source()
        return _usable(await given if inspect.isawaitable(given) else given)


def _usable(token: str) -> str:
    if not isinstance(token, str) or not (token.isascii() and token.isprintable()) or " " in token:
        raise LibsqlError("the token holds what no token has, such as a space or a line's end", "TOKEN_INVALID")
    return token
