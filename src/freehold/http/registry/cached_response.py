"""Answers that are encoded and compressed once and sent many times, with a strong ETag."""

import gzip
import hashlib
from dataclasses import dataclass
from typing import Self

import msgspec
from litestar.types import Receive, Scope, Send

from freehold.http.headers import header

Headers = tuple[tuple[bytes, bytes], ...]

# Below this the compressed form is hardly smaller, and one packet either way.
_MIN_GZIP_BYTES = 1_400
_NO_CACHE = b"no-cache"


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """An ASGI application that sends this body, JSON unless said otherwise, or 304 when the client has it already.

    `etag` is the tag with its quotes; the compressed form has one of its own, since its bytes are others. Unless
    `cache_control` says otherwise, the client may keep the body but asks each time whether it is still right.
    """

    body: bytes
    etag: bytes
    gzipped: bytes | None = None
    cache_control: bytes = _NO_CACHE
    vary: bytes = b""
    content_type: bytes = b"application/json"

    @classmethod
    def of(
        cls,
        body: bytes,
        *,
        cache_control: bytes = _NO_CACHE,
        vary: bytes = b"",
        content_type: bytes = b"application/json",
    ) -> Self:
        """The answer with this body, compressed if that is of use. Takes milliseconds for a large one."""
        gzipped = gzip.compress(body, 6, mtime=0) if len(body) >= _MIN_GZIP_BYTES else None
        tag = hashlib.sha256(body).hexdigest()[:32].encode()
        return cls(body, b'"%s"' % tag, gzipped, cache_control, vary, content_type)

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        is_gzipped = self.gzipped is not None and _takes_gzip(scope)
        gzip_etag = self.etag[:-1] + b'-gz"'
        # Fresh lists each time: middleware around us adds its headers in place.
        headers = [(b"etag", gzip_etag if is_gzipped else self.etag), (b"cache-control", self.cache_control)]
        vary = [name for name in (b"Accept-Encoding" if self.gzipped else b"", self.vary) if name]
        if vary:
            headers.append((b"vary", b", ".join(vary)))
        if _has_it(scope, (self.etag, gzip_etag)):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        body = self.gzipped if is_gzipped and self.gzipped is not None else self.body
        if is_gzipped:
            headers.append((b"content-encoding", b"gzip"))
        headers.append((b"content-type", self.content_type))
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def prebuilt(answer: object) -> CachedResponse:
    """The answer, encoded."""
    return CachedResponse.of(msgspec.json.encode(answer))


def _takes_gzip(scope: Scope) -> bool:
    """Source: RFC 9110, section 12.5.3. What refuses gzip by a quality of 0 gets the plain form."""
    for part in (header(scope, b"accept-encoding") or "").lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() in {"gzip", "x-gzip"}:
            return parameters.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _has_it(scope: Scope, etags: tuple[bytes, bytes]) -> bool:
    """Whether `If-None-Match` names a tag; compared weakly, as RFC 9110 section 13.1.2 says."""
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            if value in etags:
                return True
            tags = [tag.strip().removeprefix(b"W/") for tag in value.split(b",")]
            if any(etag in tags for etag in etags) or tags == [b"*"]:
                return True
    return False
