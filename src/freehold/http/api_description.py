"""`/schema`: the API described for machines (OpenAPI), as JSON and as YAML.

The framework's pages for people are left out: they run scripts of other hosts on our origin, where those could act
as whoever is signed in, and they stay empty without the internet.
"""

from typing import Any

from litestar import MediaType, Request, Router
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin

from freehold import __version__

_PATH = "/schema"


def api_description() -> OpenAPIConfig:
    """The JSON form is at `/schema` itself and at `/schema/openapi.json`."""
    return OpenAPIConfig(
        title="Freehold",
        version=__version__,
        path=_PATH,
        render_plugins=[JsonRenderPlugin(media_type=MediaType.JSON), YamlRenderPlugin()],
        openapi_router=Router(
            _PATH, route_handlers=[], include_in_schema=False, before_request=_refuse_other_paths
        ),
    )


async def _refuse_other_paths(request: Request[Any, Any, Any]) -> None:
    # The framework would answer with a page of its own.
    if request.path_params:
        raise NotFoundException
