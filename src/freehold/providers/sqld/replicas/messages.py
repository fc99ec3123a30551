"""The messages with which an embedded replica forwards its writes, read strictly: anything unknown is refused.

Source: proxy.proto of libSQL. Only parts that contain SQL or name a connection are read; arguments and conditions pass
as they are, unless a batch may be the registry's.
"""

import hmac
import uuid
from hashlib import sha256

from freehold.errors import Forbidden, InvalidInput
from freehold.libsql.conditions import MAX_DEPTH
from freehold.libsql.protocol import (
    Batch,
    BatchStep,
    Cond,
    CondAnd,
    CondError,
    CondIsAutocommit,
    CondNot,
    CondOk,
    CondOr,
    Integer,
    NamedArg,
    Null,
    Stmt,
    Text,
    Value,
)
from freehold.providers.grants import Grant
from freehold.providers.sqld.checks.entitled import Claim
from freehold.providers.sqld.checks.sizes import check_sizes, check_stored_search
from freehold.providers.sqld.client.protobuf import (
    BYTES,
    FRAME_HEAD_BYTES,
    VARINT,
    each,
    encoded,
    field,
    fields_of,
    parsed,
    require,
    varint,
)
from freehold.sql.guard import RefusedSql, check_reading_sql, check_sql
from freehold.sql.inspection import in_our_words
from freehold.sql.profiles import refusal

# Of `ExecuteResults`: the connection's transaction state after the program.
_STATE_FIELD, _STATE_TRANSACTION = 2, 2


class ProxyMessages:
    """Checks and rewrites. sqld finds a replica's connection by the id that the replica chose, whoever asks; here it is
    replaced by one derived from the token and the database. Without profiles a token that may write may write all."""

    def __init__(self, secret: bytes, *, has_profiles: bool = True) -> None:
        self._secret = secret
        self._has_profiles = has_profiles

    def execute(self, message: bytes, grant: Grant) -> tuple[bytes, Claim | None]:
        """`ProgramReq`: a connection's id and a program, each step of which has a query.

        With a claim it may be sent only if the program is the registry's. It then gets a connection of its own, so
        that nobody can find it again in the middle if it is broken off.

        Raises:
            Forbidden: it may not be sent at all.
        """
        fields = fields_of(message, {1: BYTES, 2: BYTES})
        program = field(fields, 2)
        refused: Forbidden | None = None
        for step in each(program, "Program"):
            sql = query_sql(step)
            _check_as_it_is(sql)
            check_sizes(sql)
            check_stored_search(sql)
            if grant.access_level == "read_only":
                check_reading_sql(sql)
            refused = refused or self._refusal(sql, grant)
        if refused is None:
            return encoded(1, self._own_id(fields, grant)) + encoded(2, program), None
        if grant.profile not in {"rows", "full"}:
            raise refused
        message = encoded(1, str(uuid.uuid4()).encode()) + encoded(2, program)
        return message, Claim(program_of(program), refused)

    def describe(self, message: bytes, grant: Grant) -> bytes:
        """`DescribeRequest`: a connection's id and a statement."""
        fields = fields_of(message, {1: BYTES, 2: BYTES})
        sql = text_of(fields.get(2, b""))
        _check_as_it_is(sql)
        check_sizes(sql)
        check_stored_search(sql)
        refused = self._refusal(sql, grant)
        if refused is not None:
            raise refused
        return encoded(1, self._own_id(fields, grant)) + encoded(2, sql.encode())

    def disconnect(self, message: bytes, grant: Grant) -> bytes:
        """`DisconnectMessage`: a connection's id."""
        return encoded(1, self._own_id(fields_of(message, {1: BYTES}), grant))

    def _refusal(self, sql: str, grant: Grant) -> Forbidden | None:
        return refusal(sql, grant.profile) if self._has_profiles else None

    def _own_id(self, fields: dict[int, bytes], grant: Grant) -> bytes:
        """The rewritten id. It is always a UUID: sqld's worker crashes on anything else."""
        bound_to = b"\0".join(
            (grant.token_digest, grant.access_level.encode(), grant.database_name.encode(), field(fields, 1))
        )
        return str(uuid.UUID(bytes=hmac.digest(self._secret, bound_to, sha256)[:16], version=4)).encode()


def connection_of(message: bytes) -> str:
    """The id of the connection that a message made here is for."""
    return next(value for number, _, value in parsed(message) if number == 1).decode()


def steps_of(message: bytes) -> int:
    """The number of statements in a `ProgramReq` that was made here."""
    program = next(value for number, _, value in parsed(message) if number == 2)
    return sum(number == 1 for number, _, _ in parsed(program))


def texts_of(method: str, message: bytes) -> list[str]:
    """The SQL in a message that was made here; none in those that only read the log."""
    if method == "proxy.Proxy/Execute":
        program = next(value for number, _, value in parsed(message) if number == 2)
        return [query_sql(step) for step in each(program, "Program")]
    if method == "proxy.Proxy/Describe":
        return [text_of(value) for number, _, value in parsed(message) if number == 2]
    return []


def unframed(body: bytes) -> bytes:
    """The one message in a gRPC-web body."""
    size = int.from_bytes(body[1:FRAME_HEAD_BYTES], "big")
    if len(body) != FRAME_HEAD_BYTES + size or body[0] != 0:
        raise InvalidInput("expected one gRPC-web frame, not compressed")
    return body[FRAME_HEAD_BYTES:]


def leaves_transaction(body: bytes) -> bool | None:
    """Whether a connection is in a transaction after this gRPC-web answer of `ExecuteResults`; None if unknown."""
    try:
        size = int.from_bytes(body[1:FRAME_HEAD_BYTES], "big")
        message = body[FRAME_HEAD_BYTES : FRAME_HEAD_BYTES + size]
        if body[:1] != b"\0" or len(message) != size:
            return None
        return _STATE_TRANSACTION in _varints_of(message, _STATE_FIELD)
    except InvalidInput:
        return None


def _check_as_it_is(sql: str) -> None:
    """Like `check_sql`, for SQL that is sent unchanged."""
    check_sql(sql)
    if in_our_words(sql) != sql:
        raise RefusedSql("this PRAGMA is not handed on by a replica; ask the database itself")


def _varints_of(message: bytes, number: int) -> list[int]:
    found = []
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        value, at = varint(message, at)
        if tag & 7 == BYTES:
            at += value
        elif tag >> 3 == number:
            found.append(value)
    return found


# A replica's program as a Hrana batch, to be compared with the registry's own.
#
# Source: proxy.proto of libSQL, and the order of its values' kinds as Rust's bincode writes them.

_KIND_BYTES = 4
_NUMBER_BYTES = 8
_STEP = {1: BYTES, 2: BYTES}
_QUERY = {1: BYTES, 2: BYTES, 3: BYTES, 4: VARINT}


def program_of(message: bytes) -> Batch:
    """The batch of a `Program`. Raises `InvalidInput` if it has another form."""
    return Batch(tuple(_step(step) for step in each(message, "Program")))


def query_sql(step: bytes) -> str:
    """The SQL of a `Step`. Its parameters may be empty but not missing, on which sqld's worker would crash."""
    query = _query(fields_of(step, _STEP))
    require((2 in query) != (3 in query), "parameters")
    return text_of(query.get(1, b""))


def text_of(value: bytes) -> str:
    """SQL as text."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("SQL text must be UTF-8") from error


def _step(message: bytes) -> BatchStep:
    fields = fields_of(message, _STEP)
    query = _query(fields)
    args = tuple(map(_value, each(query[2], "Positional"))) if 2 in query else ()
    # What they are does not matter: no batch of the registry's has any.
    named = (NamedArg("", Null()),) if 3 in query else ()
    stmt = Stmt(sql=text_of(query.get(1, b"")), args=args, named_args=named)
    return BatchStep(stmt, _cond(fields[1], MAX_DEPTH) if 1 in fields else None)


def _query(step: dict[int, bytes]) -> dict[int, bytes]:
    return fields_of(field(step, 2), _QUERY)


def _cond(message: bytes, depth: int) -> Cond:
    found = list(parsed(message))
    require(depth > 0 and len(found) == 1 and found[0][1] == BYTES, "condition")
    number, _, inner = found[0]
    match number:
        case 1:
            return CondOk(_number(inner))
        case 2:
            return CondError(_number(inner))
        case 3:
            return CondNot(_cond(field(fields_of(inner, {1: BYTES}), 1), depth - 1))
        case 4:
            return CondAnd(tuple(_cond(each_, depth - 1) for each_ in each(inner, "condition")))
        case 5:
            return CondOr(tuple(_cond(each_, depth - 1) for each_ in each(inner, "condition")))
        case 6:
            require(not inner, "condition")
            return CondIsAutocommit()
    raise InvalidInput("a condition of a delegated write is of an unknown kind")


def _number(message: bytes) -> int:
    """The one number in a message, 0 if it is left out."""
    if not message:
        return 0
    value, end = varint(message, 1)
    require(message[0] == 1 << 3 | VARINT and end == len(message), "condition")
    return value


def _value(message: bytes) -> Value:
    """`Value`, which holds bincode: the kind as 4 bytes, then a number, or a length and that many bytes."""
    data = field(fields_of(message, {1: BYTES}), 1)
    kind, rest = int.from_bytes(data[:_KIND_BYTES], "little"), data[_KIND_BYTES:]
    if kind == 1 and len(rest) == _NUMBER_BYTES:
        return Integer(str(int.from_bytes(rest, "little", signed=True)))
    size, text = int.from_bytes(rest[:_NUMBER_BYTES], "little"), rest[_NUMBER_BYTES:]
    if kind == 3 and size == len(text):
        return Text(text_of(text))
    return Null()  # the registry's batches have only numbers and texts: other values do not matter
