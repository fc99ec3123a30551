"""One row per route of `/api/auth`: its path, handler, callers, rate and description."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, Literal, TypeVar

from litestar import route as served
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Operation
from msgspec import UNSET

from freehold.errors import FreeholdError
from freehold.http.auth.bodies import Field, documented, documented_query
from freehold.http.auth.context import TAKES_CROSS_SITE
from freehold.http.auth.replies import AuthReply
from freehold.http.headers import Asked
from freehold.http.route_facts import Caller, answers, facts

RateName = Literal["auth", "sign-in", "mail"]
"""Which of the settings RATE_LIMIT_AUTH, RATE_LIMIT_SIGN_IN and RATE_LIMIT_MAIL limits a route."""
Refuses = tuple[type[FreeholdError] | int, ...]

E = TypeVar("E")

_LEADS_ON = {302: ResponseSpec(None, description="To `callbackURL`, if there is one.")}


@dataclass(frozen=True, slots=True, eq=False)
class Doc:
    """What the API description says of a route besides its handler's docstring.

    `takes` are the members of the body, or of the query of a GET; None where nothing is read. `gives` is the type of
    the response. `refuses` are errors and statuses besides those that all such routes may return. `more` goes to the
    framework as it is.
    """

    operation: str
    takes: Sequence[Field] | None = None
    gives: Any = UNSET
    refuses: Refuses = ()
    status: int = 200
    leads_on: bool = False
    is_form: bool = False
    is_alone: bool = False
    bare: tuple[int, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


HIDDEN = Doc("")
"""For a route that the API description leaves out."""


@dataclass(frozen=True, slots=True)
class Route(Generic[E]):
    """One row of the table in the handler's file.

    `does` is a method of the class that holds the services. It enforces `caller` itself, as better-auth checks bodies
    before it checks who calls. `rate` says how often one address may call.
    """

    method: Literal["GET", "POST"]
    path: str
    does: Callable[[E, Asked], Awaitable[AuthReply]]
    caller: Caller
    rate: RateName
    doc: Doc = HIDDEN
    takes_cross_site: bool = False


def bound(routes: Iterable[Route[E]], endpoints: E) -> list[HTTPRouteHandler]:
    """The framework's handlers for these routes, backed by `endpoints`."""
    return [_handler(route, endpoints) for route in routes]


def _handler(route: Route[E], endpoints: E) -> HTTPRouteHandler:
    # Not the method itself: the framework deep-copies handlers, and a method would take its services along.
    async def handler(request: Asked) -> AuthReply:
        return await route.does(endpoints, request)

    handler.__name__, handler.__doc__ = route.does.__name__, route.does.__doc__
    doc = route.doc
    return served(
        route.path,
        http_method=[route.method],
        include_in_schema=doc is not HIDDEN,
        operation_id=doc.operation or None,
        operation_class=_operation(route.method, doc),
        status_code=doc.status,
        responses=_answers(doc),
        opt={
            **facts(*doc.refuses, caller=route.caller, is_alone=doc.is_alone, bare=doc.bare),
            TAKES_CROSS_SITE: route.takes_cross_site,
        },
        **doc.more,
    )(handler)


@cache
def _operation(method: str, doc: Doc) -> type[Operation]:
    if doc.takes is None:
        return Operation
    return documented_query(*doc.takes) if method == "GET" else documented(doc.takes, is_form=doc.is_form)


def _answers(doc: Doc) -> dict[int, ResponseSpec] | None:
    if doc.gives is UNSET:
        return None
    return {**answers(doc.gives, status=doc.status), **(_LEADS_ON if doc.leads_on else {})}
