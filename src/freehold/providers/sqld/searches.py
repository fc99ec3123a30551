"""Vector searches that ask for a number by a parameter: the number is looked at where it is given."""

from collections.abc import Iterator

from freehold.libsql.guard import RefusedSql
from freehold.libsql.protocol import (
    BatchReq,
    BatchV1Req,
    CursorReq,
    DescribeReq,
    ExecuteReq,
    ExecuteV1Req,
    PipelineReq,
    SequenceReq,
    Stmt,
    StoreSqlReq,
)
from freehold.libsql.tokens import Kind, tokens
from freehold.libsql.values import decode
from freehold.libsql.vectors import MAX_NEIGHBOURS, VECTOR_SEARCH, is_too_many
from freehold.providers.texts import Body


def check_searches(request: Body) -> None:
    """Return if no search asks for more than libSQL can bear.

    Raises:
        RefusedSql: one does, or may: SQL that is stored gets its values in some later call.
    """
    for each in _statements(request):
        if isinstance(each, str):
            if searches(each):
                check_stored_search(each)
        elif each.sql is not None and searches(each.sql):
            values = [*each.args, *(named.value for named in each.named_args)]
            if any(is_too_many(decode(value)) for value in values):
                raise RefusedSql(f"a statement with `{VECTOR_SEARCH}` takes numbers up to {MAX_NEIGHBOURS}")


def check_stored_search(sql: str) -> None:
    """Return if the text searches with numbers that it names itself.

    Raises:
        RefusedSql: it takes parameters, whose values are not seen here.
    """
    if searches(sql) and any(token.kind is Kind.VARIABLE for token in tokens(sql)):
        raise RefusedSql(
            f"`{VECTOR_SEARCH}` in SQL that is stored or delegated takes no parameters; send it whole"
        )


def searches(sql: str) -> bool:
    """Whether the text may hold a vector search."""
    return VECTOR_SEARCH in sql.lower()


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
