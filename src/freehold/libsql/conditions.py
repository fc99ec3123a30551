"""Decides whether a step of a Hrana batch runs. Pure, so that every engine decides alike."""

from collections.abc import Callable, Sequence

from freehold.errors import InvalidInput
from freehold.libsql.protocol import (
    Cond,
    CondAnd,
    CondError,
    CondIsAutocommit,
    CondNot,
    CondOk,
    CondOr,
    Error,
    StmtResult,
)

MAX_DEPTH = 64


def holds(
    cond: Cond | None,
    step_results: Sequence[StmtResult | None],
    step_errors: Sequence[Error | None],
    is_autocommit: Callable[[], bool],
) -> bool:
    """Whether `cond` holds after the steps done so far; None always holds.

    Both lists have one entry for each step reached so far, so their length is the index of the step in question.
    A step that was skipped is neither ok nor failed.

    Raises:
        InvalidInput: it refers to a step that has not been reached yet, or is nested too deeply.
    """
    return cond is None or _holds(cond, step_results, step_errors, is_autocommit, MAX_DEPTH)


def _holds(
    cond: Cond,
    step_results: Sequence[StmtResult | None],
    step_errors: Sequence[Error | None],
    is_autocommit: Callable[[], bool],
    depth: int,
) -> bool:
    # Conditions come from untrusted clients: the interpreter's recursion limit must not be what stops them.
    if depth == 0:
        raise InvalidInput(f"a batch condition is nested deeper than {MAX_DEPTH} levels; flatten it")
    match cond:
        case CondOk(step=step):
            return step_results[_reached(step, step_results)] is not None
        case CondError(step=step):
            return step_errors[_reached(step, step_errors)] is not None
        case CondIsAutocommit():
            return is_autocommit()
        case CondNot(cond=inner):
            return not _holds(inner, step_results, step_errors, is_autocommit, depth - 1)
        case CondAnd(conds=conds):
            return all(_holds(c, step_results, step_errors, is_autocommit, depth - 1) for c in conds)
        case CondOr(conds=conds):
            return any(_holds(c, step_results, step_errors, is_autocommit, depth - 1) for c in conds)


def _reached(step: int, done: Sequence[object]) -> int:
    if not 0 <= step < len(done):
        raise InvalidInput(f"a batch condition refers to step {step}, which does not come before it")
    return step
