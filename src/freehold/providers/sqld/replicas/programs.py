"""A replica's program as a Hrana batch, to be held against the registry's own.

Source: proxy.proto of libSQL, and the order of its values' kinds as Rust's bincode writes them.
"""

from freehold.errors import InvalidInput
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
from freehold.providers.sqld.client.protobuf import (
    BYTES,
    VARINT,
    each,
    field,
    fields_of,
    parsed,
    require,
    varint,
)

_KIND_BYTES = 4
_NUMBER_BYTES = 8
_STEP = {1: BYTES, 2: BYTES}
_QUERY = {1: BYTES, 2: BYTES, 3: BYTES, 4: VARINT}


def program_of(message: bytes) -> Batch:
    """`Program` as a batch. Raises `InvalidInput` if it has another form."""
    return Batch(tuple(_step(step) for step in each(message, "Program")))


def query_sql(step: bytes) -> str:
    """The SQL of a `Step`. sqld's worker dies of a query without parameters, which may be empty."""
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
    return Null()  # the registry's batches have numbers and texts alone: what others are does not matter
