"""Reads an answer to its end without trusting the sender: up to a number of bytes, however they were packed."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpx

# The only packing that is asked for: unpacked here, since a few bytes may say that they are many.
PACKING: Final = "gzip"
_GZIP_WINDOW = 31


class TooLargeError(Exception):
    """The answer goes on beyond what it may have."""


class UnreadableError(Exception):
    """The answer is packed in another way than was asked for, or is cut short."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole. `content` is unpacked."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        """Whether it is a 2xx."""
        return HTTPStatus.OK <= self.status_code < HTTPStatus.MULTIPLE_CHOICES


async def answer_of(reply: httpx.Response, most_bytes: int) -> Answer:
    """The answer, when its body is not over the limit.

    Raises:
        TooLargeError: it has more; the rest is not read.
        UnreadableError: it cannot be unpacked.
        httpx.TransportError: it ends before its time.
    """
    return Answer(reply.status_code, reply.headers, await _body(reply, most_bytes))


async def _body(reply: httpx.Response, most_bytes: int) -> bytes:
    if reply.is_stream_consumed:  # the caller's own transport has read and unpacked it
        if len(reply.content) > most_bytes:
            raise TooLargeError
        return reply.content
    packing = reply.headers.get("Content-Encoding", "identity").strip().lower()
    unpack = zlib.decompressobj(_GZIP_WINDOW) if packing == PACKING else None
    if unpack is None and packing not in {"identity", ""}:
        raise UnreadableError
    body = bytearray()
    async for chunk in reply.aiter_raw():
        try:
            body += chunk if unpack is None else unpack.decompress(chunk, most_bytes + 1 - len(body))
        except zlib.error as error:
            raise UnreadableError from error
        if len(body) > most_bytes:
            raise TooLargeError
    if unpack is not None and not unpack.eof:
        raise UnreadableError
    return bytes(body)
