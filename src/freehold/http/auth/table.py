"""All routes of `/api/auth` and `/api/v1/auth`, from which they are served, described, rate-limited and tested."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from litestar import asgi, route
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler
from litestar.types import Method, Receive, Scope, Send

from freehold.http.auth import account, admin, api_keys, codes, emails, form, passwords, sign_in, social, tokens
from freehold.http.auth.context import AuthContext
from freehold.http.auth.replies import EXCEPTION_HANDLERS, AuthReply, not_found
from freehold.http.auth.route import Route, bound
from freehold.http.headers import Asked
from freehold.http.single_router import SingleRouter
from freehold.settings.fields import Settings
from freehold.wiring.auth import AuthServices

BASE_PATH = "/api/auth"

_MAX_BODY_BYTES = 64 * 1024
_METHODS: tuple[Method, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

_TABLES: Mapping[type, Sequence[Route[Any]]] = {
    sign_in.SignInEndpoints: sign_in.ROUTES,
    admin.AdminEndpoints: admin.ROUTES,
    social.SocialEndpoints: social.ROUTES,
    tokens.TokenEndpoints: tokens.ROUTES,
    codes.CodeEndpoints: codes.ROUTES,
    passwords.PasswordEndpoints: passwords.ROUTES,
    emails.EmailEndpoints: emails.ROUTES,
    account.AccountEndpoints: account.ROUTES,
    api_keys.ApiKeyEndpoints: api_keys.ROUTES,
}

ROUTES: Mapping[str, Sequence[Route[Any]]] = {
    BASE_PATH: [each for table in _TABLES.values() for each in table],
    form.BASE_PATH: form.ROUTES,
}
"""By base path."""


def auth_endpoints(edge: AuthContext, services: AuthServices, settings: Settings) -> list[object]:
    """The endpoints behind each table of `/api/auth`."""
    accounts, resets, addresses = services.accounts, services.password_resets, services.email_addresses
    return [
        sign_in.SignInEndpoints(edge, services.jwts, services.api_keys, services.guests),
        admin.AdminEndpoints(edge, services.user_admin),
        social.SocialEndpoints(edge, services.social),
        tokens.TokenEndpoints(edge, services.jwts, services.signing_keys, services.pairs),
        codes.CodeEndpoints(edge, addresses.codes, services.code_sign_in, resets, addresses),
        passwords.PasswordEndpoints(edge, accounts, resets, settings.public_url),
        emails.EmailEndpoints(edge, addresses),
        account.AccountEndpoints(edge, accounts, confirms_by_mail=settings.confirm_deletion == "mail"),
        api_keys.ApiKeyEndpoints(edge, services.api_keys),
    ]


def auth_routes(edge: AuthContext, endpoints: Iterable[object]) -> SingleRouter:
    """The router for `endpoints`, with better-auth's errors; other paths below `/api/auth` are a 404 without a body."""
    handlers = [handler for each in endpoints for handler in bound(_TABLES[type(each)], each)]

    async def before_each(request: Asked) -> AuthReply | None:
        # The framework has stripped the slash from `path`.
        if request.scope.get("raw_path", b"").endswith(b"/"):
            return not_found()
        edge.refuse_cross_site(request)
        return None

    return SingleRouter(
        BASE_PATH,
        route_handlers=[*_other_methods(handlers), *handlers, _elsewhere()],
        before_request=before_each,
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=_MAX_BODY_BYTES,
        tags=["auth"],
    )


def _other_methods(handlers: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Handlers that return 404 for a path's other methods, for which the framework would return 405."""
    taken: dict[str, set[Method]] = {}
    for handler in handlers:
        for path in handler.paths:
            taken.setdefault(path, set()).update(handler.http_methods)
    # One handler for all paths that lack the same methods: each takes the framework as long as a real one.
    lacking: dict[tuple[Method, ...], list[str]] = {}
    for path, methods in taken.items():
        lacking.setdefault(tuple(sorted(set(_METHODS) - methods)), []).append(path)

    def refused(paths: list[str], methods: tuple[Method, ...]) -> HTTPRouteHandler:
        @route(paths, http_method=methods, status_code=404, include_in_schema=False)
        async def no_such_method() -> AuthReply:
            return not_found()

        return no_such_method

    return [refused(paths, methods) for methods, paths in lacking.items()]


def _elsewhere() -> ASGIRouteHandler:
    @asgi("/", is_mount=True, copy_scope=True)
    async def no_such_path(scope: Scope, receive: Receive, send: Send) -> None:
        await not_found()(scope, receive, send)

    return no_such_path
