"""`/schema`: the API described for machines (OpenAPI), as JSON and as YAML.

The framework describes what its handlers take and give; who may call them and how they refuse is added here. Its
pages for people are left out: they run scripts of other hosts on our origin, where those could act as whoever is
signed in, and they stay empty without the internet.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Router
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin, YamlRenderPlugin
from litestar.routes import HTTPRoute

from freehold import __version__
from freehold.auth.sessions.cookies import SessionCookies
from freehold.http.description.hrana import hrana_paths, hrana_schemas
from freehold.http.description.refusals import (
    Described,
    callers_of,
    error_schemas,
    form_of,
    references,
    security_schemes,
    shared_responses,
    statuses_of,
)
from freehold.http.middleware.rate_rules import Rules
from freehold.http.route_facts import BARE

_PATH = "/schema"


class ApiDescription:
    """What one installation's application is. It is put together when somebody first asks for it."""

    def __init__(self, rules: Rules, cookies: SessionCookies, *, has_gateway: bool) -> None:
        self._rules = rules
        self._cookies = cookies
        self._has_gateway = has_gateway

    def config(self) -> OpenAPIConfig:
        """For the framework. The JSON form is at `/schema` itself and at `/schema/openapi.json`."""
        return OpenAPIConfig(
            title="Freehold",
            version=__version__,
            path=_PATH,
            render_plugins=[
                _Once(JsonRenderPlugin(media_type=MediaType.JSON), self),
                _Once(YamlRenderPlugin(), self),
            ],
            openapi_router=Router(
                _PATH, route_handlers=[], include_in_schema=False, before_request=_refuse_other_paths
            ),
        )

    def complete(self, app: Litestar, schema: Described) -> Described:
        """The framework's description with all that it cannot know. Takes some milliseconds."""
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
                refusals = statuses_of(handler, method.upper(), path, self._rules, has_input=has_input)
                answers = {
                    status: answer
                    for status, answer in operation["responses"].items()
                    if int(status) < 400  # the framework's own errors are never sent
                }
                refused = references(form_of(path), refusals, handler.opt.get(BARE, ()))
                described = {**operation, "responses": {**answers, **refused}}
                if callers := callers_of(handler):
                    described["security"] = callers
                paths[path][method] = described
        components = dict(schema["components"])
        components["schemas"] = {**with_presence(components["schemas"], paths), **error_schemas()}
        if self._has_gateway:
            paths |= hrana_paths()
            components["schemas"] |= hrana_schemas()
        components["responses"] = shared_responses()
        components["securitySchemes"] = security_schemes(*self._cookies.names)
        return {**schema, "paths": dict(sorted(paths.items())), "components": components}


class _Once(OpenAPIRenderPlugin):
    """Rendered once: the YAML takes a fifth of a second, for which nobody else is served."""

    def __init__(self, plugin: OpenAPIRenderPlugin, description: ApiDescription) -> None:
        super().__init__(path=plugin.paths, media_type=plugin.media_type)
        self._plugin = plugin
        self._description = description
        self._rendered: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: Described) -> bytes:
        if self._rendered is None:
            described = self._description.complete(request.app, openapi_schema)
            self._rendered = self._plugin.render(request, described)
        return self._rendered


async def _refuse_other_paths(request: Request[Any, Any, Any]) -> None:
    # The framework would answer with a page of its own.
    if request.path_params:
        raise NotFoundException


# Which members of a body have to be sent, and which are always there: schemas tell neither by their defaults.
#
# A member with a default may be left out of a request, and is there in every answer whose struct does not leave out
# what is as by default. Generators take a default for either, each in its own way, so none stays.

_REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')


def with_presence(schemas: Described, paths: Described) -> Described:
    """The schemas without defaults; what an answer always has is required."""
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
        name: {key: value for key, value in member.items() if key != "default"}
        for name, member in members.items()
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
