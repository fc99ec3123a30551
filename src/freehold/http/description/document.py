"""`/schema`: the API's description (OpenAPI), as JSON and as YAML.

The framework describes what handlers take and return; callers and errors are added here. Its HTML pages are left out:
they run scripts from other hosts on our origin, which could act as the signed-in user, and need the internet.
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Router
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin, YamlRenderPlugin
from litestar.routes import HTTPRoute

from freehold import __version__
from freehold.auth.sessions.cookies import SessionCookies
from freehold.http.description import refusals
from freehold.http.description.refusals import Described
from freehold.http.headers import Asked
from freehold.http.middleware.rate_limits import Rules
from freehold.http.route_facts import BARE
from freehold.libsql import protocol

_PATH = "/schema"


class ApiDescription:
    """The description of one installation's API, made when it is first requested."""

    def __init__(self, rules: Rules, cookies: SessionCookies, *, has_gateway: bool) -> None:
        self._rules = rules
        self._cookies = cookies
        self._has_gateway = has_gateway

    def config(self) -> OpenAPIConfig:
        """The framework's configuration. The JSON form is at `/schema` itself and at `/schema/openapi.json`."""
        return OpenAPIConfig(
            title="Freehold",
            version=__version__,
            path=_PATH,
            render_plugins=[_Once(JsonRenderPlugin(media_type=MediaType.JSON), self), _Once(YamlRenderPlugin(), self)],
            openapi_router=Router(
                _PATH, route_handlers=[], include_in_schema=False, before_request=_refuse_other_paths
            ),
        )

    def complete(self, app: Litestar, schema: Described) -> Described:
        """The framework's description, completed with what it cannot know. Takes some milliseconds."""
        handlers = {
            (route.path_format or "/", method.lower()): found[0]
            for route in app.routes
            if isinstance(route, HTTPRoute)
            for method, found in route.route_handler_map.items()
        }
        paths: Described = {}
        for path, item in schema["paths"].items():
            paths[path] = dict(item)
            for method, operation in item.items():
                if not isinstance(operation, dict) or (path, method) not in handlers:
                    continue
                handler = handlers[path, method]
                given = [each["in"] for each in operation.get("parameters", ())]
                has_input = "requestBody" in operation or not {"path", "query"}.isdisjoint(given)
                statuses = refusals.statuses_of(handler, method.upper(), path, self._rules, has_input=has_input)
                answers = {
                    status: answer
                    for status, answer in operation["responses"].items()
                    if int(status) < 400  # the framework's own errors are never sent
                }
                refused = refusals.references(refusals.form_of(path), statuses, handler.opt.get(BARE, ()))
                described = {**operation, "responses": {**answers, **refused}}
                if callers := refusals.callers_of(handler):
                    described["security"] = callers
                paths[path][method] = described
        components = dict(schema["components"])
        components["schemas"] = {**with_presence(components["schemas"], paths), **refusals.error_schemas()}
        if self._has_gateway:
            paths |= hrana_paths()
            components["schemas"] |= hrana_schemas()
        components["responses"] = refusals.shared_responses()
        components["securitySchemes"] = refusals.security_schemes(*self._cookies.names)
        return {**schema, "paths": dict(sorted(paths.items())), "components": components}


class _Once(OpenAPIRenderPlugin):
    """Renders once: the YAML takes a fifth of a second, during which nobody else is served."""

    def __init__(self, plugin: OpenAPIRenderPlugin, description: ApiDescription) -> None:
        super().__init__(path=plugin.paths, media_type=plugin.media_type)
        self._plugin = plugin
        self._description = description
        self._rendered: bytes | None = None

    def render(self, request: Asked, openapi_schema: Described) -> bytes:
        if self._rendered is None:
            described = self._description.complete(request.app, openapi_schema)
            self._rendered = self._plugin.render(request, described)
        return self._rendered


async def _refuse_other_paths(request: Asked) -> None:
    # The framework would answer with a page of its own.
    if request.path_params:
        raise NotFoundException


# Which members a request must have and a response always has, which defaults do not say. A member with a default may be
# omitted from a request, and is in every response unless its struct has `omit_defaults`. Generators interpret defaults
# in different ways, so they are all removed.

_REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')


def with_presence(schemas: Described, paths: Described) -> Described:
    """The schemas without defaults; members that a response always has are required."""
    sent = _reachable(schemas, list(_bodies(paths)))
    sparse = {kind.__name__ for kind in _structs(msgspec.Struct) if kind.__struct_config__.omit_defaults}
    return {name: _plain(schema, is_whole=name not in sent | sparse) for name, schema in schemas.items()}


def _plain(schema: Described, *, is_whole: bool) -> Described:
    members = schema.get("properties", {})
    usual = [name for name, member in members.items() if "default" in member]
    if not usual:
        return schema
    required = [*schema.get("required", ()), *(usual if is_whole else ())]
    plain = {
        name: {key: value for key, value in member.items() if key != "default"} for name, member in members.items()
    }
    return {**schema, "properties": plain, "required": [name for name in members if name in required]}


def _bodies(paths: Described) -> Iterator[Described]:
    for item in paths.values():
        for operation in item.values():
            if isinstance(operation, dict) and "requestBody" in operation:
                yield operation["requestBody"]


def _reachable(schemas: Described, start: list[Described]) -> set[str]:
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        for name in _REFERENCE.findall(msgspec.json.encode(waiting.pop()).decode()):
            if name not in found:
                found.add(name)
                waiting.append(schemas[name])
    return found


def _structs(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for each in kind.__subclasses__():
        yield each
        yield from _structs(each)


# The gateway's part of the API description: Hrana over HTTP, as `libsql.protocol` has it.

_PREFIX = "Hrana"
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The database's name; clients use the URL that `GET /databases/user` returns.",
    "schema": {"type": "string", "pattern": "^[a-z0-9-]{1,63}$"},
}
_REFUSED = (400, 401, 403, 404, 408, 410, 413, 429, 503)
_NDJSON = (
    "JSON, one document per line: a `HranaCursorResp`, then a `HranaStepBeginEntry`, `HranaRowEntry`, "
    "`HranaStepEndEntry` or `HranaStepErrorEntry` for each thing that happens"
)
_CALLS: tuple[tuple[str, str, type, type | None, str], ...] = (
    ("v3/pipeline", "pipeline_v3", protocol.PipelineReq, protocol.PipelineResp,
     "Run requests in order on one stream. A `baton` in the response continues the stream in the next call; requests "
     "that fail are in `results`, and the call is still a 200."),
    ("v2/pipeline", "pipeline_v2", protocol.PipelineReq, protocol.PipelineResp,
     "The same in version 2 of the protocol, which has neither `get_autocommit` nor `is_autocommit`."),
    ("v3/cursor", "cursor_v3", protocol.CursorReq, None,
     "Run a batch and stream its rows, one JSON document per line."),
    ("v1/execute", "execute_v1", protocol.ExecuteV1Req, protocol.ExecuteV1Resp,
     "Run one statement on a separate stream, for clients of version 1. A statement that fails is a 400."),
    ("v1/batch", "batch_v1", protocol.BatchV1Req, protocol.BatchV1Resp,
     "Run a batch on a separate stream, for clients of version 1."),
)  # fmt: skip


def hrana_paths() -> Described:
    found: Described = {}
    for endpoint, operation_id, request, response, words in _CALLS:
        found[f"/db/{{name}}/{endpoint}"] = {
            "parameters": [_NAME],
            "post": {
                "operationId": operation_id,
                "summary": endpoint,
                "description": words,
                "tags": ["database"],
                "security": [{"databaseToken": []}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": _ref(request.__name__)}}},
                },
                "responses": {
                    "200": {"description": "The result." if response else f"{_NDJSON}.", **_content(response)},
                    **refusals.references("database", _REFUSED),
                },
            },
        }
    for version in ("v2", "v3"):
        found[f"/db/{{name}}/{version}"] = {
            "parameters": [_NAME],
            "get": {
                "operationId": f"probe_{version}",
                "summary": f"Probe {version}",
                "description": "Say whether this version of the protocol is supported, which clients ask first.",
                "tags": ["database"],
                "responses": {"200": {"description": "It is."}, **refusals.references("database", (429,))},
            },
        }
    return found


def hrana_schemas() -> Described:
    """All structs of the protocol, with a prefix, as names such as `Error` are used elsewhere, too."""
    kinds = [
        *(kind for _, _, request, response, _ in _CALLS for kind in (request, response) if kind),
        protocol.CursorResp,
        protocol.CursorEntry,
    ]
    _, found = msgspec.json.schema_components(kinds, ref_template=_ref("{name}"))
    return {f"{_PREFIX}{name}": _renamed(name, schema) for name, schema in found.items()}


def _content(response: type | None) -> Described:
    if response is None:
        return {"content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"content": {"application/json": {"schema": {"$ref": _ref(response.__name__)}}}}


def _ref(name: str) -> str:
    return f"#/components/schemas/{_PREFIX}{name}"


def _renamed(name: str, schema: dict[str, Any]) -> Described:
    """The schema with its prefixed title; a tag becomes a constant string."""
    plain = copy.deepcopy(schema)
    plain["title"] = f"{_PREFIX}{name}"
    for member in plain.get("properties", {}).values():
        member.pop("default", None)  # servers differ in what they leave out, and so do clients
        if list(member) == ["enum"] and len(member["enum"]) == 1:
            member.update(const=member.pop("enum")[0], type="string")
    return plain
