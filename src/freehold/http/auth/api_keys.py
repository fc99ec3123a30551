"""API keys for their owners: `/api/auth/api-key/*`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.types import Scope
from msgspec import UNSET

from freehold.auth.api_keys.errors import ApiKeyNotFound
from freehold.auth.api_keys.service import ApiKeys
from freehold.auth.api_keys.types import SORTABLE, ApiKey, ApiKeyChanges, ApiKeyPage, NewApiKey
from freehold.errors import NotFound
from freehold.http.auth.answers import Success
from freehold.http.auth.bodies import Field, check, optional
from freehold.http.auth.context import AuthContext, query_value, required_value
from freehold.http.auth.errors import BadField, BadMetadata, Impersonated, NobodyHoldsKeys, NoValuesToUpdate, ServerOnly
from freehold.http.auth.replies import AuthReply, json_reply
from freehold.http.auth.route import Doc, Route
from freehold.http.headers import Asked

_CREATE_FIELDS = (optional("name"), optional("prefix"), optional("expiresIn", "number"))
_UPDATE_FIELDS = (Field("keyId"), optional("name"), optional("enabled", "boolean"), optional("expiresIn", "number"))
_DELETE_FIELDS = (Field("keyId"),)
_METADATA = optional("metadata", "record")
_LIST_QUERY = tuple(optional(name) for name in ("limit", "offset", "sortBy", "sortDirection"))
_GET_QUERY = (Field("id"),)
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


@dataclass(frozen=True, slots=True)
class ApiKeyEndpoints:
    """The caller's own keys. They need a session: a key cannot create, change or list keys."""

    edge: AuthContext
    keys: ApiKeys

    async def create(self, request: Asked) -> AuthReply:
        """Create an API key. Only this response contains its text."""
        body = _without_null(await self.edge.accept(request), "expiresIn", "remaining")
        values = check(body, _CREATE_FIELDS)
        _refuse_server_only(body)
        if "userId" in body:
            raise NobodyHoldsKeys
        signed_in = await self.edge.signed_in(request.scope, NobodyHoldsKeys)
        if signed_in.session.impersonated_by is not None:
            # The key would outlive the impersonation and look like the user's own.
            raise Impersonated
        new = NewApiKey(
            name=values.get("name"),
            prefix=values.get("prefix"),
            expires_in_s=values.get("expiresIn"),
            metadata=_metadata(body.get("metadata")),
        )
        try:
            key, text = await self.keys.create(signed_in.user_id, new, asked_by=signed_in.session_id)
        except NotFound as error:  # the session or the user was deleted meanwhile
            raise NobodyHoldsKeys from error
        return json_reply(NewApiKeyReply(**msgspec.structs.asdict(key), key=text))

    async def list_keys(self, request: Asked) -> AuthReply:
        """List the caller's API keys (`limit`, `offset`, `sortBy`, `sortDirection`)."""
        scope = request.scope
        signed_in = await self.edge.signed_in(scope)
        page = _page(scope)
        found, total = await self.keys.list(signed_in.user_id, page)
        limit = UNSET if page.limit is None else page.limit
        offset = UNSET if page.offset is None else page.offset
        return json_reply(ApiKeysReply(api_keys=found, total=total, limit=limit, offset=offset))

    async def get_key(self, request: Asked) -> AuthReply:
        """Return the caller's API key with this `id`."""
        scope = request.scope
        key_id = required_value(scope, "id")
        signed_in = await self.edge.signed_in(scope)
        return json_reply(await self.keys.get(signed_in.user_id, key_id))

    async def update(self, request: Asked) -> AuthReply:
        """Change `name`, `enabled`, `expiresIn` or `metadata` of the key `keyId`."""
        sent = await self.edge.accept(request)
        body = _without_null(sent, "expiresIn")
        values = check(body, _UPDATE_FIELDS)
        signed_in = await self.edge.signed_in(request.scope, NobodyHoldsKeys)
        _refuse_server_only(body)
        never_expires = "expiresIn" in sent and sent["expiresIn"] is None
        changes = ApiKeyChanges(
            name=values.get("name", UNSET),
            enabled=values.get("enabled", UNSET),
            expires_in_s=None if never_expires else values.get("expiresIn", UNSET),
            metadata=_metadata(body["metadata"]) if "metadata" in body else UNSET,
        )
        if changes == ApiKeyChanges():
            await self.keys.get(signed_in.user_id, values["keyId"])
            raise NoValuesToUpdate
        return json_reply(await self.keys.update(signed_in.user_id, values["keyId"], changes))

    async def delete(self, request: Asked) -> AuthReply:
        """Delete the key `keyId`; database tokens issued for it stop working, too."""
        asking, values = await self.edge.asking(request, _DELETE_FIELDS)
        await self.keys.delete(asking.user_id, values["keyId"])
        return json_reply(Success())


ROUTES: tuple[Route[ApiKeyEndpoints], ...] = (
    Route("POST", "/api-key/create", ApiKeyEndpoints.create, "session", "auth",
          Doc("create_api_key", (*_CREATE_FIELDS, _METADATA), NewApiKeyReply)),
    Route("GET", "/api-key/list", ApiKeyEndpoints.list_keys, "session", "auth",
          Doc("list_api_keys", _LIST_QUERY, ApiKeysReply, (400,))),
    Route("GET", "/api-key/get", ApiKeyEndpoints.get_key, "session", "auth",
          Doc("get_api_key", _GET_QUERY, ApiKey, (400, ApiKeyNotFound))),
    Route("POST", "/api-key/update", ApiKeyEndpoints.update, "session", "auth",
          Doc("update_api_key", (*_UPDATE_FIELDS, _METADATA), ApiKey, (ApiKeyNotFound,))),
    Route("POST", "/api-key/delete", ApiKeyEndpoints.delete, "session", "auth",
          Doc("delete_api_key", _DELETE_FIELDS, Success, (ApiKeyNotFound,))),
)  # fmt: skip


def _without_null(body: Any, *names: str) -> Any:
    """The body without those of these members that are null, which counts as absent."""
    if not isinstance(body, dict):
        return body
    return {name: value for name, value in body.items() if value is not None or name not in names}


def _refuse_server_only(body: Mapping[str, Any]) -> None:
    if any(name in body for name in _SERVER_ONLY):
        raise ServerOnly


def _metadata(value: Any) -> Any:
    if value is not None and not isinstance(value, dict | list):
        raise BadMetadata
    return value


def _page(scope: Scope) -> ApiKeyPage:
    sort_by, direction = query_value(scope, "sortBy"), query_value(scope, "sortDirection")
    if sort_by is not None and sort_by not in SORTABLE:
        raise BadField("[query.sortBy] Invalid input: not a field of a key")
    if direction not in {None, "asc", "desc"}:
        raise BadField('[query.sortDirection] Invalid option: expected one of "asc"|"desc"')
    return ApiKeyPage(
        limit=_count(scope, "limit"), offset=_count(scope, "offset"), sort_by=sort_by, descending=direction == "desc"
    )


def _count(scope: Scope, name: str) -> int | None:
    text = query_value(scope, name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > _MAX_COUNT:
        raise BadField(f"[query.{name}] Invalid input: expected a whole number that is not negative")
    return int(text)
