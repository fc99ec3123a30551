"""Sends Hrana pipelines to one database over HTTP: pooled connections, the token, and retries."""

import asyncio
import base64
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urljoin

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from freehold.backoff import Backoff, retry_after_s
from freehold.libsql.bearer import Bearer, Token
from freehold.libsql.errors import LibsqlError, Refused, StreamLost, Unreachable

TIMEOUT_S = 30.0
RETRY_DELAYS_S = (0.05, 0.15, 0.4)
BUSY_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 10.0
_KEEPALIVE_S = 15.0  # shorter than any server's, so that a pooled connection is seldom found closed
_MAX_CONNECTIONS = 64
_SHOWN_CHARS = 300
# Limit for a decompressed answer: far above what any server returns at once, and too little to exhaust this process.
_MOST_BYTES = 256 * 1_048_576
# Without TLS the server is nearby: compressing an answer costs more than sending it.
_PLAIN = ("Accept-Encoding", "Accept", "User-Agent")
_MAYBE_V2 = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})

_BUSY = Backoff(base_s=0.003, cap_s=0.15, steady=1 / 3)

Version = Literal["v3", "v2"]
# Returns the body for a version of the protocol, since v2 lacks some requests.
Encode = Callable[[Version], bytes]


def never() -> bool:
    """For requests that must not be sent twice."""
    return False


class Retry:
    """Waits a little longer each time, up to a limit. For requests refused without effect, e.g. by SQLITE_BUSY."""

    def __init__(self, limit_s: float) -> None:
        self._until = time.monotonic() + limit_s
        self._failures = 0

    async def wait(self) -> bool:
        """Wait before another try; False once the limit has passed."""
        if time.monotonic() > self._until:
            return False
        self._failures += 1
        await asyncio.sleep(_BUSY.delay_s(self._failures))
        return True


class Endpoint:
    """One database at `base`, a URL that ends in `/`. Create it and use it on one event loop.

    `session` is the caller's to share and to close; without one a session is created at the first request.
    `missing_grace_s` is for a database that is known to exist: how long to retry when it is not found.
    """

    def __init__(
        self,
        base: str,
        token: Token = None,
        *,
        namespace: str | None = None,
        session: aiohttp.ClientSession | None = None,
        timeout_s: float = TIMEOUT_S,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
        missing_grace_s: float = 0.0,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        max_connections: int = _MAX_CONNECTIONS,
        keep_token: bool = True,
    ) -> None:
        self.base = base
        self._bearer = Bearer(token, keep=keep_token)
        self._headers: dict[str, str] = {}
        if namespace is not None:
            self._headers["x-namespace-bin"] = base64.b64encode(namespace.encode()).rstrip(b"=").decode()
        self._session = session
        self._owns_session = session is None
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(timeout_s, _CONNECT_TIMEOUT_S))
        self._delays = tuple(retry_delays_s)
        self._missing_grace_s = missing_grace_s
        self._busy_timeout_s = busy_timeout_s
        self._max_connections = max_connections
        self._version: Version | None = None
        self._urls: dict[tuple[str, str], URL] = {}
        self._made: tuple[str, CIMultiDict[str]] = ("", CIMultiDict())
        self._chores: set[asyncio.Task[None]] = set()
        self.is_closed = False

    @property
    def speaks_v3(self) -> bool:
        """False once the server has turned out to support only version 2."""
        return self._version != "v2"

    async def post(
        self, encode: Encode, *, base: str | None = None, is_new: bool = True, repeatable: Callable[[], bool] = never
    ) -> bytes:
        """Send one pipeline and return the body of the answer.

        `is_new` says that it continues no stream. `repeatable`, called only when no answer came, says whether running
        it twice has the same effect as once. A request that cannot have run is sent again without asking.

        Raises:
            Refused: nothing ran. `StreamLost` if the server no longer has the stream.
            Unreachable: no answer; `maybe_applied` says whether it may have run.
        """
        loop = asyncio.get_running_loop()
        missing_until = loop.time() + self._missing_grace_s
        delays = iter(self._delays)
        while True:
            try:
                return await self._post(encode, base or self.base)
            except StreamLost:
                raise
            except Refused as error:
                if error.status == HTTPStatus.NOT_FOUND and loop.time() < missing_until:
                    delay: float | None = 0.02
                elif error.status == HTTPStatus.TOO_MANY_REQUESTS:
                    delay = next(delays, None)
                else:
                    raise
                if delay is None or not is_new:
                    raise
            except Unreachable as error:
                delay = next(delays, None)
                if delay is None or error.code == "TIMEOUT" or (error.maybe_applied and not repeatable()):
                    raise
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311

    def retry(self) -> Retry:
        """The waits of a request that found the database locked."""
        return Retry(self._busy_timeout_s)

    def later(self, chore: Coroutine[Any, Any, None]) -> None:
        """Run something in the background; only `close` waits for it, for a short while."""
        try:
            task = asyncio.get_running_loop().create_task(chore)
        except RuntimeError:  # the event loop no longer runs, and its sockets are closed
            chore.close()
            return
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def close(self, *, wait_s: float = 2.0) -> None:
        """Let chores end, and close the connections that were opened here."""
        self_too = asyncio.current_task()
        chores = {task for task in self._chores if task is not self_too}
        if chores:
            _, late = await asyncio.wait(chores, timeout=wait_s)
            for task in late:
                task.cancel()
        self.is_closed = True
        if self._owns_session and self._session is not None:
            await self._session.close()

    def close_later(self) -> None:
        """Close without waiting."""
        self.later(self.close())

    async def _post(self, encode: Encode, base: str) -> bytes:
        token = await self._bearer.get()
        version = self._version or "v3"
        status, body, later_s = await self._send(encode(version), base, version, token)
        if status == HTTPStatus.UNAUTHORIZED and self._bearer.can_renew:
            token = await self._bearer.get(refused=token)
            status, body, later_s = await self._send(encode(version), base, version, token)
        if self._version is None and status in _MAYBE_V2 and await self._is_v2(base, token):
            self._version = version = "v2"
            status, body, later_s = await self._send(encode(version), base, version, token)
        if status == HTTPStatus.OK:
            self._version = version
            return body
        error = refusal(status, _reason(body, token))
        error.retry_after = later_s
        raise error

    async def _send(self, body: bytes, base: str, version: str, token: str) -> tuple[int, bytes, float | None]:
        """Status, body, and in how many seconds to retry, if the answer says so."""
        try:
            # A redirect is not followed: it would carry the token to someone else.
            async with self._http().post(
                self._url(base, f"{version}/pipeline"),
                data=body,
                headers=self._request_headers(token),
                timeout=self._timeout,
                allow_redirects=False,
            ) as reply:
                is_done = reply.status == HTTPStatus.OK
                return reply.status, await _body(reply), None if is_done else retry_after_s(reply.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _no_answer(error) from error

    async def _is_v2(self, base: str, token: str) -> bool:
        return not await self._has(base, "v3", token) and await self._has(base, "v2", token)

    async def _has(self, base: str, version: str, token: str) -> bool:
        try:
            async with self._http().get(
                self._url(base, version),
                headers=self._request_headers(token),
                timeout=self._timeout,
                allow_redirects=False,
            ) as reply:
                return reply.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _no_answer(error) from error

    def _http(self) -> aiohttp.ClientSession:
        if self.is_closed:
            raise LibsqlError("the client is closed", "CLIENT_CLOSED")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=_KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_PLAIN if self.base.startswith("http:") else (),
            )
        return self._session

    def _url(self, base: str, path: str) -> URL:
        url = self._urls.get((base, path))
        if url is None:
            try:
                url = URL(urljoin(base if base.endswith("/") else f"{base}/", path))
            except ValueError:
                raise LibsqlError("the database URL cannot be read", "URL_INVALID") from None
            if len(self._urls) < 64:
                self._urls[base, path] = url
        return url

    def _request_headers(self, token: str) -> CIMultiDict[str]:
        made_for, headers = self._made
        if not headers or made_for != token:
            headers = CIMultiDict({"Content-Type": "application/json", **self._headers})
            if token:
                headers["Authorization"] = f"Bearer {token}"
            self._made = (token, headers)
        return headers


async def _body(reply: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises `Unreachable` when it is larger than an answer may be."""
    if "Content-Encoding" not in reply.headers and (reply.content_length or _MOST_BYTES) < _MOST_BYTES:
        return await reply.read()
    body = bytearray()
    async for piece in reply.content.iter_any():
        body += piece
        if len(body) > _MOST_BYTES:
            raise Unreachable(
                f"the database answered more than {_MOST_BYTES} bytes; ask for fewer rows", "RESPONSE_TOO_LARGE"
            )
    return bytes(body)


def refusal(status: int, reason: tuple[str, str | None]) -> LibsqlError:
    """The error for an HTTP status other than 200; `reason` is the server's message and code."""
    message, code = reason
    said = f": {message}" if message else ""
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return Refused.with_status(status, f"the database did not accept the token{said}", "UNAUTHORIZED")
        case HTTPStatus.FORBIDDEN:
            return Refused.with_status(status, f"the token does not allow this{said}", "FORBIDDEN")
        case HTTPStatus.NOT_FOUND:
            return Refused.with_status(status, f"there is no such database{said}", "NOT_FOUND")
        case HTTPStatus.BAD_REQUEST if code == "STREAM_EXPIRED" or "baton" in message:
            return StreamLost.with_status(status, message, code or "STREAM_LOST")
        case _ if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            text = message or f"the database answered with HTTP status {status}"
            return Refused.with_status(status, text, code or _CODES.get(status, "SERVER_ERROR"))
    return Unreachable(f"the database answered with HTTP status {status}{said}", code or "SERVER_ERROR")


_CODES: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "HRANA_PROTO_ERROR",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "REQUEST_TOO_LARGE",
    HTTPStatus.TOO_MANY_REQUESTS: "TOO_MANY_REQUESTS",
}


def _no_answer(error: Exception) -> Unreachable:
    # Not the error's own text: it may hold the URL.
    what = f"the database does not answer ({type(error).__name__})"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Unreachable.before_sending(what, "UNREACHABLE")
    return Unreachable(what, "TIMEOUT" if isinstance(error, TimeoutError) else "CONNECTION_LOST")


def _reason(body: bytes, token: str) -> tuple[str, str | None]:
    """The server's message, "" if it sent none or an HTML page, and its code."""
    code: str | None = None
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
        message = str(told.get("message") or told.get("error") or "")
        code = told["code"] if isinstance(told.get("code"), str) else None
    except (msgspec.MsgspecError, RecursionError):
        text = body[: 4 * _SHOWN_CHARS].decode(errors="replace")
        message = "" if "<" in text else text
    message = " ".join(message.split())[:_SHOWN_CHARS]
    return (message.replace(token, "***") if token else message), code
