"""The range service of Have I Been Pwned as its published API has it; the real one cannot be had in tests.

`GET /range/{first 5 hash chars}`: 200 and `SUFFIX:COUNT` lines of all hashes that begin so, in order, ended by CRLF;
with `Add-Padding: true` between 800 and 1,000 lines, those that are made up counted 0. Whatever is no prefix is 400.
Source: https://haveibeenpwned.com/API/v3#PwnedPasswords
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.serving import listen, serving


@dataclass
class PwnedPasswords:
    """`passwords` and how often each was seen. `fault` is what it does instead of answering."""

    passwords: dict[str, int]
    url: str = ""
    fault: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def range(self, prefix: str, *, is_padded: bool) -> str:
        digests = {hashlib.sha1(text.encode()).hexdigest().upper(): n for text, n in self.passwords.items()}
        lines = {digest[5:]: times for digest, times in digests.items() if digest.startswith(prefix.upper())}
        while is_padded and len(lines) < 900:
            lines[secrets.token_hex(18)[:35].upper()] = 0
        return "\r\n".join(f"{suffix}:{times}" for suffix, times in sorted(lines.items()))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append((scope["path"] + scope["query_string"].decode(), headers))
        base, _, prefix = scope["path"].rpartition("/")
        is_prefix = base == "/range" and len(prefix) == 5 and set(prefix.lower()) <= set("0123456789abcdef")
        status, text = 200, ""
        match self.fault:
            case "slow":
                await asyncio.sleep(60)
            case "500":
                status = 500
            case "endless":
                text = "x" * 3_000_000
            case "nonsense":
                text = "<html>\x00\xff:::\n\n:1"
            case "redirect":
                status = 302
            case _:
                status = 200 if is_prefix else 400
                text = self.range(prefix, is_padded=headers.get("add-padding") == "true") if is_prefix else ""
        answer = [(b"content-type", b"text/plain"), (b"location", b"http://127.0.0.1:9/elsewhere")]
        await send({"type": "http.response.start", "status": status, "headers": answer})
        await send({"type": "http.response.body", "body": text.encode("latin-1")})


@asynccontextmanager
async def pwned_passwords(**passwords: int) -> AsyncIterator[PwnedPasswords]:
    """One that knows these."""
    listener, origin = listen()
    service = PwnedPasswords(passwords, f"{origin}/range/")
    async with serving(service, listener):
        yield service
