"""The interface of every client: that of libsql-client, so that code written for it keeps working."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Literal, Self

from freehold.libsql.result import ResultSet, Value

Buffer = bytes | bytearray | memoryview
InValue = Value | bool | datetime | Buffer
InArgs = Sequence[InValue] | Mapping[str, InValue] | None
# `deferred` takes the write lock at the first write, `write` at once, `read` never writes.
Mode = Literal["deferred", "write", "read"]


class Statement:
    """SQL with its arguments: a sequence for `?`, a mapping for `:name`, `@name` and `$name`."""

    __slots__ = ("args", "sql")

    def __init__(self, sql: str, args: InArgs = None) -> None:
        self.sql = sql
        self.args = args

    @staticmethod
    def convert(stmt: "InStatement", args: InArgs = None) -> "Statement":
        """A statement from any form that the client accepts."""
        if isinstance(stmt, str):
            return Statement(stmt, args)
        if isinstance(stmt, Statement):
            if args:
                raise TypeError("a Statement has its own arguments; pass no others")
            return stmt
        match stmt:
            case (str(sql),):
                return Statement(sql, args)
            case (str(sql), given):
                if args:
                    raise TypeError("a statement given as a tuple has its own arguments; pass no others")
                return Statement(sql, given)
        raise TypeError("a statement is text, a Statement, (text,) or (text, arguments)")


InStatement = Statement | str | tuple[str] | tuple[str, InArgs]


class Transaction(ABC):
    """An interactive transaction. Leaving its block without `commit` rolls back."""

    @abstractmethod
    async def execute(self, stmt: InStatement, args: InArgs = None) -> ResultSet:
        """Run one statement. After an error the transaction is still open unless it is `closed`."""

    @abstractmethod
    async def commit(self) -> None:
        """Commit and close."""

    @abstractmethod
    async def rollback(self) -> None:
        """Roll back and close. Does nothing when the transaction is closed."""

    @abstractmethod
    def close(self) -> None:
        """Roll back without waiting."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the transaction was committed, rolled back or lost."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Client(ABC):
    """One database. Safe to share between tasks of one event loop."""

    @abstractmethod
    async def execute(self, stmt: InStatement, args: InArgs = None, *, idempotent: bool = False) -> ResultSet:
        """Run one statement on its own.

        `idempotent` says that running it twice has the same effect as once, so that it may be sent again when no
        answer came; statements that only read are recognised as such.

        Raises:
            LibsqlError: the database refused it.
            Unreachable: no answer; `maybe_applied` says whether it may have run.
        """

    @abstractmethod
    async def batch(
        self, stmts: Sequence[InStatement], *, mode: Mode = "deferred", idempotent: bool = False
    ) -> list[ResultSet]:
        """Run all statements, or none, in one transaction and one round trip. Raises as `execute`."""

    @abstractmethod
    def transaction(self, mode: Mode = "deferred") -> Transaction:
        """Start an interactive transaction; use it as `with client.transaction() as tx:`."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections. Open transactions are rolled back."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether `close` was called."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
