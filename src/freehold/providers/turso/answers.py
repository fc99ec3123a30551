"""What Turso's Platform API answers, as far as we read it. Source: its OpenAPI description, 2026-06."""

from typing import TypeVar

import msgspec

from freehold.errors import ProviderUnavailable


class Parent(msgspec.Struct, frozen=True):
    """The database that another one was branched from."""

    id: str = ""
    name: str = ""


class RemoteDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """A database as `show` and `list` tell it; `create` tells the first three only."""

    name: str = msgspec.field(name="Name")
    db_id: str = msgspec.field(name="DbId")
    hostname: str = msgspec.field(name="Hostname")
    group: str = ""
    block_reads: bool = False
    block_writes: bool = False
    parent: Parent | None = None


class DatabaseAnswer(msgspec.Struct, frozen=True):
    database: RemoteDatabase


class Pagination(msgspec.Struct, frozen=True):
    """Not documented; sent by a newer form of the API. `next` is absent or null on the last page."""

    next: str | None = None


class DatabasesAnswer(msgspec.Struct, frozen=True):
    databases: list[RemoteDatabase] | None = None
    pagination: Pagination | None = None


class Group(msgspec.Struct, frozen=True):
    name: str


class GroupsAnswer(msgspec.Struct, frozen=True):
    groups: list[Group] | None = None


class TokenAnswer(msgspec.Struct, frozen=True):
    jwt: str


Form = TypeVar("Form")


def decoded(body: bytes, form: type[Form]) -> Form:
    """The answer in its form. Raises `ProviderUnavailable` if it has another one."""
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.MsgspecError as error:
        # Not the body: it may hold a token.
        raise ProviderUnavailable(
            f"Turso's API answered in a form that is not its own: {error}; is TURSO_API_URL right?"
        ) from error
