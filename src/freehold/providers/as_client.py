"""Runs a batch in a tenant's database as the gateway runs one of a client: the same guard, limits and queue."""

import hashlib
from collections.abc import Awaitable, Callable

import msgspec

from freehold.libsql.protocol import Batch, BatchReq, BatchResult, CloseReq, PipelineReq
from freehold.migrate.target import Target
from freehold.profiles import Profile
from freehold.providers.serving import Call, DatabaseServer, Disconnect
from freehold.providers.tokens import Grant
from freehold.tenants.operator_sql import RunAsClient


def through_gateway(server: DatabaseServer, subject: str) -> RunAsClient:
    """What runs a batch on databases that we serve ourselves. `subject` is whom a token would be made for."""

    async def run(database_name: str, batch: Batch, profile: Profile) -> BatchResult:
        grant = Grant(database_name, profile, hashlib.sha256(subject.encode()).digest(), subject)
        body = msgspec.json.encode(PipelineReq((BatchReq(batch), CloseReq())))
        reply = await server.answer(Call(grant, "v3/pipeline", body), Disconnect())
        from freehold.libsql.http import batch_results  # whoever only lists tenants need not load aiohttp

        [result] = batch_results([batch], await reply.whole())
        return result

    return run


def with_tokens(open_as_client: Callable[[str, Profile], Awaitable[Target]]) -> RunAsClient:
    """The same on databases that have servers of their own, opened with a token of the profile."""

    async def run(database_name: str, batch: Batch, profile: Profile) -> BatchResult:
        [result] = await (await open_as_client(database_name, profile)).run([batch])
        return result

    return run
