"""Vector searches, and patterns of REGEXP, that are given by a parameter: it is looked at where it has its value."""

from collections.abc import Iterator

from freehold.errors import InvalidInput
from freehold.libsql.guard import RefusedSql
from freehold.libsql.patterns import LARGE_PATTERN, MATCHES, is_large_pattern
from freehold.libsql.protocol import (
    BatchReq,
    BatchV1Req,
    Blob,
    CursorReq,
    DescribeReq,
    ExecuteReq,
    ExecuteV1Req,
    PipelineReq,
    SequenceReq,
    Stmt,
    StoreSqlReq,
    Text,
    Value,
)
from freehold.libsql.tokens import Kind, tokens
from freehold.libsql.values import decode
from freehold.libsql.vectors import MAX_NEIGHBOURS, VECTOR_SEARCH, is_too_many, is_zero, wanted_parameters
from freehold.providers.sqld.sizes import check_values
from freehold.providers.texts import Body


def check_searches(request: Body) -> None:
    """Return if no search asks for more than libSQL can bear.

    Raises:
        RefusedSql: one does, or may: SQL that is stored gets its values in some later call.
    """
    for each in _statements(request):
        if isinstance(each, str):
            check_stored_search(each)
        elif each.sql is not None and searches(each.sql):
            _check_values(each.sql, each)


def check_lengths(request: Body) -> None:
    """Return if no function that nothing interrupts is asked to compare two long values.

    Raises:
        RefusedSql: one is.
    """
    stored = " ".join(each for each in _statements(request) if isinstance(each, str))
    for each in _statements(request):
        if isinstance(each, Stmt):
            values = (*each.args, *(named.value for named in each.named_args))
            lengths = [len(value.value) for value in values if isinstance(value, Text)]
            lengths += [len(value.base64) * 3 // 4 for value in values if isinstance(value, Blob)]
            check_values(stored if each.sql is None else each.sql, lengths)


def _check_values(sql: str, statement: Stmt) -> None:
    lowered = sql.lower()
    given = [_python_value(value) for value in statement.args]
    named = {each.name.lstrip(":@$?"): _python_value(each.value) for each in statement.named_args}
    values = [*given, *named.values()]
    if VECTOR_SEARCH in lowered:
        wanted = [
            value
            for number, name in wanted_parameters(tokens(sql))
            for value in (*given[number - 1 : number], named.get(name))
        ]
        if any(map(is_too_many, values)) or any(map(is_zero, wanted)):
            raise RefusedSql(f"a statement with `{VECTOR_SEARCH}` takes numbers from 1 to {MAX_NEIGHBOURS}")
    if MATCHES in lowered and any(map(is_large_pattern, values)):
        raise RefusedSql(LARGE_PATTERN)


def _python_value(value: Value) -> object:
    try:
        return decode(value)
    except ValueError as error:
        raise InvalidInput("the value of an argument is not what its type says") from error


def check_stored_search(sql: str) -> None:
    """Return if the text searches with numbers that it names itself.

    Raises:
        RefusedSql: it takes parameters, whose values are not seen here.
    """
    if searches(sql) and any(token.kind is Kind.VARIABLE for token in tokens(sql)):
        raise RefusedSql(
            f"`{VECTOR_SEARCH}` or REGEXP in SQL that is stored or delegated takes no parameters; send it whole"
        )


def searches(sql: str) -> bool:
    """Whether the text may hold a vector search, or REGEXP."""
    lowered = sql.lower()
    return VECTOR_SEARCH in lowered or MATCHES in lowered


def _statements(request: Body) -> Iterator[Stmt | str]:
    match request:
        case PipelineReq(requests=requests):
            for each in requests:
                match each:
                    case ExecuteReq(stmt=stmt):
                        yield stmt
                    case BatchReq(batch=batch):
                        yield from (step.stmt for step in batch.steps)
                    case StoreSqlReq(sql=sql):
                        yield sql
                    case SequenceReq() | DescribeReq():
                        pass  # without values
        case ExecuteV1Req(stmt=stmt):
            yield stmt
        case CursorReq(batch=batch) | BatchV1Req(batch=batch):
            yield from (step.stmt for step in batch.steps)
