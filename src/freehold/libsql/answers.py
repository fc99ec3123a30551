"""Answers as the driver reads them: the shapes of `protocol`, with values decoded to Python's.

Decoding is most of the work for a large result, so it is done in C, and a large result is decoded in pieces so that
the event loop gets a turn in between.
"""

import asyncio
import base64
import binascii
import math
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from freehold.libsql.errors import Unreachable
from freehold.libsql.protocol import Col, Error, StreamError
from freehold.libsql.result import Value

_LARGE_BYTES = 256 * 1024
_ROWS_A_PIECE = 2_000

R = TypeVar("R")


class _Null(Struct, tag="null", gc=False):
    value: None = None


class _Integer(Struct, tag="integer", gc=False):
    value: int  # a decimal string on the wire, which the decoders below accept (`strict=False`)


class _Float(Struct, tag="float", gc=False):
    value: float | None

    def __post_init__(self) -> None:
        if self.value is None:  # an infinity: JSON has none, and the server does not send its sign
            self.value = math.nan


class _Text(Struct, tag="text", gc=False):
    value: str


class _Blob(Struct, tag="blob", gc=False):
    value: str = field(name="base64")  # bytes from `__post_init__` on; msgspec wants one kind of text

    def __post_init__(self) -> None:
        text = self.value
        try:
            self.value = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)  # type: ignore[assignment]
        except binascii.Error as error:
            raise ValueError("a blob is not base64") from error


Cell = _Null | _Integer | _Float | _Text | _Blob


class Result(Struct, Generic[R]):
    """The result of one statement. The driver's callers see each row as a tuple of Python values."""

    cols: tuple[Col, ...] = ()
    rows: list[R] = []
    affected_row_count: int = 0
    last_insert_rowid: int | None = None


class _Execute(Struct, Generic[R], tag="execute"):
    result: Result[R]


class BatchResult(Struct, Generic[R]):
    """One entry per step in both lists; a step that was skipped has None in both."""

    step_results: list[Result[R] | None]
    step_errors: list[Error | None]


class _Batch(Struct, Generic[R], tag="batch"):
    result: BatchResult[R]


class _Autocommit(Struct, tag="get_autocommit"):
    is_autocommit: bool


class _Close(Struct, tag="close"):
    pass


class _StoreSql(Struct, tag="store_sql"):
    pass


class _Ok(Struct, Generic[R], tag="ok"):
    response: _Execute[R] | _Batch[R] | _Autocommit | _Close | _StoreSql


class _Answer(Struct, Generic[R]):
    results: list[_Ok[R] | StreamError]
    baton: str | None = None
    base_url: str | None = None


Rows = tuple[Value, ...]
# The result of one request of a pipeline.
Outcome = Result[Rows] | BatchResult[Rows] | bool | Error | None


class Answer(Struct, frozen=True):
    """Answer to a pipeline: an outcome for each request, and how to continue the stream."""

    outcomes: list[Outcome]
    baton: str | None
    base_url: str | None


_cells = msgspec.json.Decoder(_Answer[list[Cell]], strict=False)
_raw = msgspec.json.Decoder(_Answer[Raw], strict=False)
_row = msgspec.json.Decoder(list[Cell], strict=False)
_value = attrgetter("value")


async def read_answer(body: bytes) -> Answer:
    """Decode a pipeline's answer.

    Raises:
        Unreachable: it is not Hrana; whether the requests ran is unknown.
    """
    try:
        if len(body) < _LARGE_BYTES:
            answer = _cells.decode(body)
            for result in _results(answer):
                result.rows = [tuple(map(_value, row)) for row in result.rows]
        else:
            answer = await _read_large(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unreachable(f"the database's answer is not Hrana: {error}", "HRANA_PROTO_ERROR") from error
    return Answer([_outcome(one) for one in answer.results], answer.baton, answer.base_url)


async def _read_large(body: bytes) -> _Answer[Any]:
    answer = _raw.decode(body)
    for result in _results(answer):
        rows: list[Any] = []
        for start in range(0, len(result.rows), _ROWS_A_PIECE):
            piece = result.rows[start : start + _ROWS_A_PIECE]
            rows += [tuple(map(_value, _row.decode(one))) for one in piece]
            await asyncio.sleep(0)
        result.rows = rows
    return answer


def _results(answer: _Answer[Any]) -> Iterator[Result[Any]]:
    for one in answer.results:
        if isinstance(one, StreamError):
            continue
        match one.response:
            case _Execute(result=result):
                yield result
            case _Batch(result=batch):
                yield from (result for result in batch.step_results if result is not None)


def _outcome(one: _Ok[Any] | StreamError) -> Outcome:
    if isinstance(one, StreamError):
        return one.error
    match one.response:
        case _Execute(result=result):
            return result
        case _Batch(result=batch):
            return batch
        case _Autocommit(is_autocommit=value):
            return value
    return None
