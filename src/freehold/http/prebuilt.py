"""Answers that are encoded once and sent many times, with a strong ETag."""

from dataclasses import dataclass

from litestar.types import Receive, Scope, Send

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Prebuilt:
    """An ASGI application that sends this JSON body, or 304 when the client has it already.

    `etag` is the tag with its quotes. The client may keep the body but asks each time whether it is still right.
    """

    body: bytes
    etag: bytes

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        # Fresh lists each time: middleware around us adds its headers in place.
        headers = [(b"etag", self.etag), (b"cache-control", b"no-cache")]
        if _has_it(scope, self.etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def _has_it(scope: Scope, etag: bytes) -> bool:
    """Whether `If-None-Match` names the tag; compared weakly, as RFC 9110 section 13.1.2 says."""
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            if value == etag:
                return True
            tags = [tag.strip().removeprefix(b"W/") for tag in value.split(b",")]
            if etag in tags or tags == [b"*"]:
                return True
    return False
