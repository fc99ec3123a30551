"""Vector searches, and patterns of REGEXP, that are given by a parameter: it is looked at where it has its value."""

from freehold.errors import InvalidInput
from freehold.libsql.protocol import Blob, Stmt, Text, Value
from freehold.libsql.values import decode
from freehold.providers.sqld.checks.sizes import check_values
from freehold.sql.guard import RefusedSql
from freehold.sql.patterns import LARGE_PATTERN, MATCHES, is_large_pattern
from freehold.sql.tokens import Kind, tokens
from freehold.sql.vectors import MAX_NEIGHBOURS, VECTOR_SEARCH, is_too_many, is_zero, wanted_parameters


def check_search(stmt: Stmt) -> None:
    """Return if the statement, whose text is sent with it, searches for no more than libSQL can bear.

    Raises:
        RefusedSql: it does not.
    """
    if stmt.sql is not None and searches(stmt.sql):
        _check_values(stmt.sql, stmt)


def check_lengths(stmt: Stmt, stored: str) -> None:
    """Return if no function that nothing interrupts is asked to compare two long values. `stored` is all SQL that
    the statement could be, if its text is not sent with it.

    Raises:
        RefusedSql: one is.
    """
    values = (*stmt.args, *(named.value for named in stmt.named_args))
    lengths = [len(value.value) for value in values if isinstance(value, Text)]
    lengths += [len(value.base64) * 3 // 4 for value in values if isinstance(value, Blob)]
    check_values(stored if stmt.sql is None else stmt.sql, lengths)


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
