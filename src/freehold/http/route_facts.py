"""Facts in a route's `opt`, for the API description, that the framework cannot see."""

from collections.abc import Iterable
from typing import Any, Literal

from litestar.openapi.datastructures import ResponseSpec

from freehold.errors import FreeholdError

Caller = Literal["anyone", "session", "maybe session", "admin", "access token", "form session", "metrics token"]

CALLER = "caller"
"""Who may call a route that checks this in its own code, not by a guard or dependency."""

REFUSES = "refuses"
"""Errors, or statuses, that a route may return besides those that all similar routes may."""

ALONE = "alone"
"""Whether a route depends on no other part of the service, so that it answers when those do not."""

BARE = "bare"
"""Statuses that a route returns without a body, as some of better-auth's do."""


def facts(
    *refuses: type[FreeholdError] | int,
    caller: Caller | None = None,
    is_alone: bool = False,
    bare: tuple[int, ...] = (),
) -> dict[str, Any]:
    """The `opt` of a route with these facts."""
    return {CALLER: caller, REFUSES: refuses, ALONE: is_alone, BARE: bare}


def refused_by(opt: dict[str, Any]) -> Iterable[type[FreeholdError] | int]:
    """The errors and statuses that a route's `opt` declares."""
    found: Iterable[type[FreeholdError] | int] = opt.get(REFUSES, ())
    return found


def answers(content: Any, *, status: int = 200, words: str = "Done.") -> dict[int, ResponseSpec]:
    """A successful response, for the API description."""
    return {status: ResponseSpec(content, generate_examples=False, description=words)}
