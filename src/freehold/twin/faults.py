"""Faults on demand: everything that can go wrong with a remote API, when and as often as a test wants."""

import asyncio
import fnmatch
import random
from collections.abc import Sequence
from typing import Literal, get_args

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

HEADER = b"x-fault"
PATH = "/__faults"

Kind = Literal[
    "latency",
    "rate_limit",
    "error_before",
    "error_after",
    "not_json",
    "drop_before",
    "drop_after",
    "exists_as_400",
    "exists_as_422",
    "slow_ready",
    "expired_token",
    "no_access_claim",
    "attach_refused",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong, for which requests, and how often.

    `path` is a pattern like those of file names. `times` counts down; null means for ever. `seconds` is the duration
    of `latency` and `slow_ready`, and the `Retry-After` of `rate_limit` (none if 0).
    """

    kind: Kind
    method: str = "*"
    path: str = "/v1/*"
    times: int | None = None
    probability: float = 1.0
    seconds: float = 0.0

    def fits(self, method: str, path: str) -> bool:
        """Whether the fault applies to such a request."""
        return fnmatch.fnmatchcase(method, self.method) and fnmatch.fnmatchcase(path, self.path)


class Faults:
    """The requested faults. The same seed and the same requests in the same order cause the same faults."""

    def __init__(self) -> None:
        self._active: list[Fault] = []
        self._random = random.Random()  # noqa: S311 - repeatable on purpose

    @property
    def active(self) -> list[Fault]:
        """The faults that may still happen."""
        return list(self._active)

    def add(self, faults: Sequence[Fault], seed: int | None = None) -> None:
        """Request more faults; a seed makes chance repeatable from now on."""
        if seed is not None:
            self._random.seed(seed)
        self._active += faults

    def clear(self) -> None:
        """Remove all faults."""
        self._active.clear()

    def draw(self, method: str, path: str) -> dict[Kind, Fault]:
        """The faults of this request, which are counted."""
        drawn: dict[Kind, Fault] = {}
        kept: list[Fault] = []
        for fault in self._active:
            happens = fault.kind not in drawn and fault.fits(method, path) and self._random.random() < fault.probability
            if happens:
                drawn[fault.kind] = fault
                if fault.times is not None:
                    fault = msgspec.structs.replace(fault, times=fault.times - 1)  # noqa: PLW2901
            if fault.times is None or fault.times > 0:
                kept.append(fault)
        self._active = kept
        return drawn


def parse_header(text: str) -> list[Fault]:
    """`error_after` or `latency=0.5`, several separated by commas. Raises `ValueError`."""
    faults = []
    for part in text.split(","):
        kind, _, seconds = part.strip().partition("=")
        faults.append(msgspec.convert({"kind": kind, "path": "*", "seconds": float(seconds or 0)}, Fault, strict=False))
    return faults


class Faulty:
    """ASGI wrapper that makes requests fail as requested. Handlers find their own faults in `scope["faults"]`."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"].startswith(PATH):
            await self._app(scope, receive, send)
            return
        drawn = self._faults.draw(scope["method"], scope["path"])
        header = next((value for name, value in scope["headers"] if name == HEADER), None)
        if header is not None:
            try:
                drawn |= {fault.kind: fault for fault in parse_header(header.decode("latin-1"))}
            except ValueError:
                await _answer(send, 400, f"X-Fault: expected one of {', '.join(KINDS)}")
                return
        scope["faults"] = drawn  # type: ignore[typeddict-unknown-key]
        await self._serve(scope, receive, send, drawn)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send, drawn: dict[Kind, Fault]) -> None:
        if fault := drawn.get("latency"):
            await asyncio.sleep(fault.seconds)
        if fault := drawn.get("rate_limit"):
            retry = [(b"retry-after", b"%g" % fault.seconds)] if fault.seconds else []
            await _answer(send, 429, "too many requests", retry)
        elif "error_before" in drawn:
            await _answer(send, 500, "internal server error")
        elif "not_json" in drawn:
            await _reply(send, 502, b"text/html", b"<html><h1>502 Bad Gateway</h1></html>")
        elif "drop_before" in drawn:
            await _drop(send)
        elif "error_after" in drawn:
            await self._app(scope, receive, _nobody)
            await _answer(send, 500, "internal server error")
        elif "drop_after" in drawn:
            await self._app(scope, receive, _nobody)
            await _drop(send)
        else:
            await self._app(scope, receive, send)


async def _nobody(_message: Message) -> None:
    """Discard an answer."""


async def _drop(send: Send) -> None:
    """Announce more than is sent: the server then closes the connection, and the client gets no answer."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _answer(send: Send, status: int, text: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    await _reply(send, status, b"application/json", msgspec.json.encode({"error": text}), headers)


async def _reply(
    send: Send, status: int, kind: bytes, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    start = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body, "more_body": False})
