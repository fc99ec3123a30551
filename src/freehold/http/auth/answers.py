"""Responses that several endpoints of `/api/auth` share."""

from typing import Literal
from urllib.parse import quote

import msgspec

from freehold.auth.types import User


class Status(msgspec.Struct, frozen=True):
    status: bool = True


class Success(msgspec.Struct, frozen=True):
    success: bool = True


# The same under other names: those that clients generated from the API description use.
class StatusReply(Status, frozen=True): ...


class UnlinkedReply(Status, frozen=True): ...


class DoneReply(Success, frozen=True): ...


class SignOutReply(Success, frozen=True): ...


class StatusMessage(msgspec.Struct, frozen=True):
    status: bool
    message: str


class SuccessMessage(msgspec.Struct, frozen=True):
    success: bool
    message: str


class StatusUser(msgspec.Struct, frozen=True):
    status: bool
    user: User | None


class UserReply(msgspec.Struct, frozen=True):
    user: User


class TokenUser(msgspec.Struct, frozen=True):
    token: str | None
    user: User


class SignUpReply(TokenUser, frozen=True): ...


class VerifiedByCode(msgspec.Struct, frozen=True):
    status: bool
    token: None
    user: User


def with_query(url: str, name: Literal["token", "error"], value: str) -> str:
    """The URL with one more value in its query."""
    rest, hash_, fragment = url.partition("#")
    joint = "&" if "?" in rest else "?"
    return f"{rest}{joint}{name}={quote(value, safe='')}{hash_}{fragment}"
