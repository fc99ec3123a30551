"""Publishing a signed release over HTTP: CI needs neither the central database nor a secret of the service."""

from typing import Any

import msgspec
from litestar import Controller, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK

from freehold.auth.api_keys.service import ApiKeys
from freehold.auth.api_keys.types import FORCE, PUBLISH, REGISTRY
from freehold.errors import Conflict
from freehold.http.guards import key_holder, require_admin
from freehold.http.headers import API_KEY_HEADER, Asked, header
from freehold.http.route_facts import facts
from freehold.migrate.types import Migration, normalise
from freehold.registry.service import Registry
from freehold.registry.signed import SignedRelease
from freehold.registry.types import PartFile
from freehold.wire import PublishAnswer, PublishRequest

# A release is sent whole, and every new client pulls as much.
_MAX_BODY_BYTES = 8 * 1024 * 1024


async def require_publisher(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard that admits administrators, and API keys with the scope `registry:publish`, before the body is read.

    If the request has an API key, nothing else counts.

    Raises:
        Forbidden: the caller is neither.
        Unauthenticated, RateLimited, CentralUnavailable: as `require_admin` and `key_holder`.
    """
    api_key = header(connection.scope, API_KEY_HEADER)
    connection.state.key_holder = None
    if api_key is None:
        await require_admin(connection, handler)
        return
    api_keys: ApiKeys = await handler.resolve_dependencies()["api_keys"]()
    holder = await key_holder(connection.scope, api_keys, api_key)
    holder.require(REGISTRY, PUBLISH)
    connection.state.key_holder = holder


class PublishingController(Controller):
    """For CI, which holds only the signing key and a narrow API key."""

    path = "/migrations/publish"
    tags = ("migrations",)

    @post(
        operation_id="publish_release",
        opt=facts(Conflict),
        guards=[require_publisher],
        status_code=HTTP_200_OK,
        request_max_body_size=_MAX_BODY_BYTES,
    )
    async def publish(
        self, request: Asked, registry: NamedDependency[Registry], data: JSONBody[PublishRequest]
    ) -> PublishAnswer:
        """Publish a signed release: everything new, or nothing. Safe to repeat; `dry_run` writes nothing.

        For administrators and API keys with the scope `registry:publish`; `force` needs `registry:force` too.
        """
        if data.force and request.state.key_holder is not None:
            request.state.key_holder.require(REGISTRY, FORCE)
        signed = msgspec.convert(data.signed, SignedRelease, from_attributes=True)
        migrations = [
            Migration(version=file.version, name=file.name, sql=normalise(file.sql)) for file in data.migrations
        ]
        parts = [
            PartFile(name=part.name, content=part.content, must_understand=part.must_understand) for part in data.parts
        ]
        do = registry.plan if data.dry_run else registry.publish
        report = await do(migrations, signed, parts=parts, force=data.force)
        return PublishAnswer(**msgspec.structs.asdict(report), dry_run=data.dry_run)
