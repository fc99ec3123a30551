"""What a route says of itself in its `opt`, for the API description: what the framework cannot see."""

from collections.abc import Iterable
from typing import Any, Literal

from litestar.openapi.datastructures import ResponseSpec

from freehold.errors import FreeholdError

Caller = Literal["anyone", "session", "maybe session", "admin", "access token", "form session", "metrics token"]

CALLER = "caller"
"""Who may call a route whose own code asks for it, where no guard and no dependency does."""

REFUSES = "refuses"
"""With which of our errors, or statuses, a route may answer besides those that all routes like it may."""

ALONE = "alone"
"""A route that asks no other part of the service, so that it answers when those do not."""

BARE = "bare"
"""Statuses that a route answers without a body, as better-auth does here and there."""


def facts(
    *refuses: type[FreeholdError] | int,
    caller: Caller | None = None,
    is_alone: bool = False,
    bare: tuple[int, ...] = (),
) -> dict[str, Any]:
    """The `opt` of a route that says so."""
    return {CALLER: caller, REFUSES: refuses, ALONE: is_alone, BARE: bare}


def refused_by(opt: dict[str, Any]) -> Iterable[type[FreeholdError] | int]:
    """What the route with this `opt` refuses by."""
    found: Iterable[type[FreeholdError] | int] = opt.get(REFUSES, ())
    return found


def answers(content: Any, *, status: int = 200, words: str = "Done.") -> dict[int, ResponseSpec]:
    """What a success holds, for the API description."""
    return {status: ResponseSpec(content, generate_examples=False, description=words)}
