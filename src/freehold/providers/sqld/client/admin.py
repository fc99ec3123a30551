"""sqld's admin API, one method per call. Each call has a time limit, since some can hang.

Source: the admin server of sqld 0.24.32, by running it. An unknown path answers 200 there, so a status alone is
trusted only for paths that exist. With more namespaces than it keeps open it now and then denies one that it has,
here as on its user port, so an absence is trusted only when it lasts.
"""

import asyncio
import contextlib
import re
from typing import Any

import aiohttp
import msgspec

from freehold.errors import ProviderRefuses, ProviderUnavailable
from freehold.providers.sqld.client.refusals import Damages, refusal
from freehold.tenants.errors import DatabaseDamaged

_DENIALS_S = (0.01, 0.02, 0.04, 0.08, 0.16)  # waits between the requests that confirm an absence
_INTERRUPTED = re.compile(rb"^libsql_server_query_canceled (\d+)", re.MULTILINE)
_FORK_TRIES = 3
_PROBE = "freehold-probe"  # never created: sqld's own message about its absence shows that the admin API works


class NamespaceConfig(msgspec.Struct, kw_only=True):
    """What sqld keeps about a namespace. Posting replaces all of it, so a change of one field sends all fields."""

    block_reads: bool = False
    block_writes: bool = False
    block_reason: str | None = None
    max_db_size: str | None = None
    heartbeat_url: str | None = None
    jwt_key: str | None = None
    allow_attach: bool = False
    txn_timeout_s: int | None = None
    durability_mode: str | None = None


class Query(msgspec.Struct, frozen=True):
    """A statement that sqld remembers, with its literals."""

    query: str = ""
    rows_read: int = 0
    rows_written: int = 0


class NamespaceStats(msgspec.Struct, frozen=True):
    """sqld's counts for a namespace. The size lags behind."""

    rows_read_count: int = 0
    rows_written_count: int = 0
    storage_bytes_used: int = 0
    query_count: int = 0
    replication_index: int | None = 0
    top_queries: list[Query] = []


class SqldAdmin:
    """Calls to the admin port. The session is the caller's; `key` is sqld's `--admin-auth-key`.

    All raise `ProviderUnavailable` if there is no usable answer in time, and those for one namespace raise
    `DatabaseDamaged` if sqld cannot open it, which `damages` remembers.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str, *, timeout_s: float = 10.0) -> None:
        self._session = session
        self._url = url.rstrip("/")
        # The key as it is, not base64 of `user:password`.
        self._headers = {"Authorization": f"Basic {key}"} if key else {}
        self.damages = Damages()
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def create(self, name: str, config: dict[str, str]) -> bool:
        """Create an empty namespace; False if there is one of that name."""
        status, answer = await self._call("POST", f"/{name}/create", config)
        if status == 400 and b"already exists" in answer:
            return False
        return _done(status, answer)

    async def delete(self, name: str) -> None:
        """Remove the namespace with its files; no error if there is none."""
        status, answer = await self._call("DELETE", f"/{name}")
        if not _is_missing(status, answer):
            _done(status, answer)

    async def fork(self, source: str, target: str) -> bool | None:
        """Copy a namespace, its key included. False if the target exists, None if there is no source.

        One fork in some dozens hangs when sqld holds more namespaces than it keeps open; the next try works.
        """
        for _ in range(_FORK_TRIES - 1):
            with contextlib.suppress(ProviderUnavailable):
                return await self._fork(source, target)
        return await self._fork(source, target)

    async def _fork(self, source: str, target: str) -> bool | None:
        status, answer = await self._call("POST", f"/{source}/fork/{target}")
        if status == 400 and b"already exists" in answer:
            return False
        return None if _is_missing(status, answer) else _done(status, answer)

    async def config(self, name: str) -> NamespaceConfig | None:
        """The namespace's configuration, or None if there is no such namespace."""
        status, answer = await self._call("GET", f"/{name}/config")
        for delay_s in _DENIALS_S:
            if not _is_missing(status, answer):
                break
            await asyncio.sleep(delay_s)
            status, answer = await self._call("GET", f"/{name}/config")
        self.damages.forget(name)  # it opens, or is gone
        if _is_missing(status, answer):
            return None
        _done(status, answer)
        try:
            return msgspec.json.decode(answer, type=NamespaceConfig)
        except msgspec.MsgspecError as error:
            raise ProviderUnavailable("SQLD_ADMIN_URL does not answer like sqld's admin API") from error

    async def set_config(self, name: str, config: NamespaceConfig) -> bool:
        """Replace the configuration; False if there is no such namespace."""
        status, answer = await self._call("POST", f"/{name}/config", msgspec.to_builtins(config))
        return not _is_missing(status, answer) and _done(status, answer)

    async def stats(self, name: str) -> NamespaceStats | None:
        """What the namespace did so far, or None if there is no such namespace."""
        status, answer = await self._call("GET", f"/{name}/stats")
        if _is_missing(status, answer):
            return None
        _done(status, answer)
        try:
            return msgspec.json.decode(answer, type=NamespaceStats)
        except msgspec.MsgspecError as error:
            raise ProviderUnavailable("SQLD_ADMIN_URL does not answer like sqld's admin API") from error

    async def interrupted(self) -> int:
        """The number of statements that sqld has interrupted since its start because nobody waited for them."""
        status, answer = await self._ask("GET", "/metrics")
        _done(status, answer)
        found = _INTERRUPTED.search(answer)
        return 0 if found is None else int(found[1])

    async def checkpoint(self, name: str) -> None:
        """Checkpoint and empty the database's log if nobody reads from it; sqld does not report whether it did.

        The database must be open in sqld: it puts nothing in the place of one that is not, and then denies it.
        """
        _done(*await self._call("POST", f"/{name}/checkpoint"))

    async def check(self) -> None:
        """Return if the admin API answers and accepts our key."""
        status, answer = await self._call("GET", f"/{_PROBE}/config")
        if not _is_missing(status, answer):
            _done(status, answer)
            raise ProviderUnavailable("SQLD_ADMIN_URL does not answer like sqld's admin API")

    async def _call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Call for the namespace that is the first part of the path. Also raises `DatabaseDamaged`."""
        status, answer = await self._ask(method, f"/v1/namespaces{path}", body)
        if status == 500 and isinstance(error := refusal(status, answer), DatabaseDamaged):
            self.damages.note(path.split("/")[1], error)
            raise error
        return status, answer

    async def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        try:
            async with self._session.request(
                method,
                f"{self._url}{path}",
                json={} if body is None and method == "POST" else body,
                headers=self._headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as reply:
                return reply.status, await reply.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            # Not the error's own text: it may hold the URL.
            raise ProviderUnavailable(f"sqld's admin API does not answer ({type(error).__name__})") from error


def _is_missing(status: int, answer: bytes) -> bool:
    return status == 404 and b"doesn't exist" in answer


def _done(status: int, answer: bytes) -> bool:
    if status == 200:
        return True
    if status == 401:
        raise ProviderRefuses("SQLD_ADMIN_KEY: sqld does not accept it; it must be its --admin-auth-key")
    text = " ".join(answer[:200].decode(errors="replace").split())
    raise ProviderUnavailable(f"sqld's admin API answered with HTTP status {status}: {text}")
