"""API keys for their owners: `/api/auth/api-key/*`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope
from msgspec import UNSET

from freehold.auth.api_keys.errors import ApiKeyNotFound
from freehold.auth.api_keys.types import SORTABLE, ApiKey, ApiKeyChanges, ApiKeyPage, NewApiKey
from freehold.auth.types import SignedIn
from freehold.errors import NotFound
from freehold.http.auth.answers import Success
from freehold.http.auth.bodies import Field, check, documented, documented_query
from freehold.http.auth.edge import AuthEdge, answers, query_value
from freehold.http.auth.replies import AuthReply, Refusal, json_reply
from freehold.http.route_facts import facts

_CREATE_FIELDS = (
    Field("name", is_required=False),
    Field("prefix", is_required=False),
    Field("expiresIn", "number", is_required=False),
)
_UPDATE_FIELDS = (
    Field("keyId"),
    Field("name", is_required=False),
    Field("enabled", "boolean", is_required=False),
    Field("expiresIn", "number", is_required=False),
)
_DELETE_FIELDS = (Field("keyId"),)
_METADATA = Field("metadata", "record", is_required=False)
_LIST_QUERY = tuple(Field(name, is_required=False) for name in ("limit", "offset", "sortBy", "sortDirection"))
_SERVER_ONLY = (
    "permissions",
    "remaining",
    "refillAmount",
    "refillInterval",
    "rateLimitMax",
    "rateLimitTimeWindow",
    "rateLimitEnabled",
)
_MAX_COUNT = 2**31


class NewApiKeyReply(ApiKey, frozen=True, kw_only=True):
    key: str


class ApiKeysReply(msgspec.Struct, frozen=True, kw_only=True):
    api_keys: Sequence[ApiKey] = msgspec.field(name="apiKeys")
    total: int
    limit: int | msgspec.UnsetType = UNSET
    offset: int | msgspec.UnsetType = UNSET


class _Endpoints:
    def __init__(self, edge: AuthEdge) -> None:
        self._edge = edge
        self._keys = edge.issuers.api_keys

    async def create(self, request: Request[Any, Any, Any]) -> AuthReply:
        body = _without_null(await self._edge.accept(request), "expiresIn", "remaining")
        values = check(body, _CREATE_FIELDS)
        _refuse_server_only(body)
        if "userId" in body:
            raise Refusal(401, "UNAUTHORIZED_SESSION", "Unauthorized or invalid session")
        signed_in = await self._signed_in(request.scope)
        if signed_in.session.impersonated_by is not None:
            # It would outlive the hour, and nobody could tell it from the user's own.
            raise Refusal(403, "IMPERSONATED_SESSION", "Only the user may make a key of theirs")
        new = NewApiKey(
            name=values.get("name"),
            prefix=values.get("prefix"),
            expires_in_s=_expires_in(values),
            metadata=_metadata(body.get("metadata")),
        )
        try:
            key, text = await self._keys.create(signed_in.user_id, new, asked_by=signed_in.session_id)
        except NotFound as error:  # the session, or the user, ended at this moment
            raise _nobody() from error
        return json_reply(NewApiKeyReply(**msgspec.structs.asdict(key), key=text))

    async def list(self, scope: Scope) -> AuthReply:
        signed_in = await self._edge.signed_in(scope)
        page = _page(scope)
        found, total = await self._keys.list(signed_in.user_id, page)
        limit = UNSET if page.limit is None else page.limit
        offset = UNSET if page.offset is None else page.offset
        return json_reply(ApiKeysReply(api_keys=found, total=total, limit=limit, offset=offset))

    async def get(self, scope: Scope) -> AuthReply:
        key_id = query_value(scope, "id")
        if key_id is None:
            raise _invalid("[query.id] Invalid input: expected string, received undefined")
        signed_in = await self._edge.signed_in(scope)
        return json_reply(await self._keys.get(signed_in.user_id, key_id))

    async def update(self, request: Request[Any, Any, Any]) -> AuthReply:
        sent = await self._edge.accept(request)
        body = _without_null(sent, "expiresIn")
        values = check(body, _UPDATE_FIELDS)
        signed_in = await self._signed_in(request.scope)
        _refuse_server_only(body)
        never_expires = "expiresIn" in sent and sent["expiresIn"] is None
        changes = ApiKeyChanges(
            name=values.get("name", UNSET),
            enabled=values.get("enabled", UNSET),
            expires_in_s=None if never_expires else values.get("expiresIn", UNSET),
            metadata=_metadata(body["metadata"]) if "metadata" in body else UNSET,
        )
        if changes == ApiKeyChanges():
            await self._keys.get(signed_in.user_id, values["keyId"])
            raise Refusal(400, "NO_VALUES_TO_UPDATE", "No values to update.")
        return json_reply(await self._keys.update(signed_in.user_id, values["keyId"], changes))

    async def delete(self, request: Request[Any, Any, Any]) -> AuthReply:
        values = check(await self._edge.accept(request), _DELETE_FIELDS)
        signed_in = await self._edge.signed_in(request.scope)
        await self._keys.delete(signed_in.user_id, values["keyId"])
        return json_reply(Success())

    async def _signed_in(self, scope: Scope) -> SignedIn:
        found = await self._edge.maybe_signed_in(scope)
        if found is None:
            raise _nobody()
        return found


def _nobody() -> Refusal:
    return Refusal(401, "UNAUTHORIZED_SESSION", "Unauthorized or invalid session")


def api_key_routes(edge: AuthEdge) -> list[HTTPRouteHandler]:
    """Everybody's own keys. They need a session: no key makes, changes or lists keys."""
    endpoints = _Endpoints(edge)

    @post(
        "/api-key/create",
        operation_id="create_api_key",
        opt=facts(caller="session"),
        operation_class=documented((*_CREATE_FIELDS, _METADATA)),
        status_code=200,
        responses=answers(NewApiKeyReply),
    )
    async def create(request: Request[Any, Any, Any]) -> AuthReply:
        """A new API key; its text is in this answer and never again."""
        return await endpoints.create(request)

    @get(
        "/api-key/list",
        operation_id="list_api_keys",
        operation_class=documented_query(*_LIST_QUERY),
        opt=facts(400, caller="session"),
        responses=answers(ApiKeysReply),
    )
    async def list_keys(scope: Scope) -> AuthReply:
        """One's API keys (`limit`, `offset`, `sortBy`, `sortDirection`)."""
        return await endpoints.list(scope)

    @get(
        "/api-key/get",
        operation_id="get_api_key",
        operation_class=documented_query(Field("id")),
        opt=facts(400, ApiKeyNotFound, caller="session"),
        responses=answers(ApiKey),
    )
    async def get_key(scope: Scope) -> AuthReply:
        """One's API key with this `id`."""
        return await endpoints.get(scope)

    @post(
        "/api-key/update",
        operation_id="update_api_key",
        opt=facts(ApiKeyNotFound, caller="session"),
        operation_class=documented((*_UPDATE_FIELDS, _METADATA)),
        status_code=200,
        responses=answers(ApiKey),
    )
    async def update(request: Request[Any, Any, Any]) -> AuthReply:
        """Change `name`, `enabled`, `expiresIn` or `metadata` of the key `keyId`."""
        return await endpoints.update(request)

    @post(
        "/api-key/delete",
        operation_id="delete_api_key",
        opt=facts(ApiKeyNotFound, caller="session"),
        operation_class=documented(_DELETE_FIELDS),
        status_code=200,
        responses=answers(Success),
    )
    async def delete(request: Request[Any, Any, Any]) -> AuthReply:
        """The key `keyId`, and every database token made for it, is of no use from now on."""
        return await endpoints.delete(request)

    return [create, list_keys, get_key, update, delete]


def _without_null(body: Any, *names: str) -> Any:
    """These members may be null, which is as good as absent."""
    if not isinstance(body, dict):
        return body
    return {name: value for name, value in body.items() if value is not None or name not in names}


def _refuse_server_only(body: Mapping[str, Any]) -> None:
    if any(name in body for name in _SERVER_ONLY):
        raise Refusal(
            400,
            "SERVER_ONLY_PROPERTY",
            "The property you're trying to set can only be set from the server auth instance only.",
        )


def _metadata(value: Any) -> Any:
    if value is not None and not isinstance(value, dict | list):
        raise Refusal(400, "INVALID_METADATA_TYPE", "metadata must be an object or undefined")
    return value


def _expires_in(values: Mapping[str, Any]) -> float | None:
    found: float | None = values.get("expiresIn")
    return found


def _page(scope: Scope) -> ApiKeyPage:
    sort_by, direction = query_value(scope, "sortBy"), query_value(scope, "sortDirection")
    if sort_by is not None and sort_by not in SORTABLE:
        raise _invalid("[query.sortBy] Invalid input: not a field of a key")
    if direction not in {None, "asc", "desc"}:
        raise _invalid('[query.sortDirection] Invalid option: expected one of "asc"|"desc"')
    return ApiKeyPage(
        limit=_count(scope, "limit"),
        offset=_count(scope, "offset"),
        sort_by=sort_by,
        descending=direction == "desc",
    )


def _count(scope: Scope, name: str) -> int | None:
    text = query_value(scope, name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > _MAX_COUNT:
        raise _invalid(f"[query.{name}] Invalid input: expected a whole number that is not negative")
    return int(text)


def _invalid(message: str) -> Refusal:
    return Refusal(400, "VALIDATION_ERROR", message)
