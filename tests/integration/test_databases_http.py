"""`GET /databases/user` through the HTTP application: its bodies, headers and refusals."""

from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import msgspec
import pytest
from litestar import Litestar, Request
from litestar.di import Provide

from freehold.errors import CentralUnavailable, Unauthenticated
from freehold.http.databases.own import DatabasesController
from freehold.http.guards import DatabaseCaller
from freehold.http.problems import EXCEPTION_HANDLERS
from freehold.tenants.service import Tenants
from freehold.tenants.types import TenantState
from freehold.wire import DatabaseCredentials
from tests.simulators.tenants import MemoryTenants, SimulatedClock, SimulatedProvider

_MOMENT = "2026-01-01T00:00:00.000Z"


async def _caller(request: Request[Any, Any, Any]) -> DatabaseCaller:
    """Stands for auth: the header `user` says who asks, `key` that it is with a key for reading."""
    user_id = request.headers.get("user")
    if not user_id:
        raise Unauthenticated("sign in first")
    return DatabaseCaller(
        user_id=user_id, reference=f"session:session-of-{user_id}", may_write="key" not in request.headers
    )


class DatabasesApp:
    def __init__(self) -> None:
        self.store = MemoryTenants()
        self.provider = SimulatedProvider(SimulatedClock(), self.store)
        self.app = Litestar(
            [DatabasesController],
            dependencies={
                "tenants": Provide(lambda: Tenants(self.store, self.provider), sync_to_thread=False),
                "database_caller": Provide(_caller),
            },
            exception_handlers=EXCEPTION_HANDLERS,
            logging_config=None,
        )
        transport = httpx.ASGITransport(app=self.app)  # type: ignore[arg-type]
        self.http = httpx.AsyncClient(transport=transport, base_url="http://service")

    async def add(self, tenant_id: str, state: TenantState) -> None:
        self.store.add(tenant_id)
        self.store.change(tenant_id, state=state, schema_version=7, error="secret detail for operators")
        await self.provider.create(f"db-{tenant_id}")

    async def get(self, user: str = "user-a", query: str = "") -> httpx.Response:
        reply = await self.http.get(f"/databases/user{query}", headers={"user": user})
        assert reply.headers["cache-control"] == "no-store"
        return reply


@pytest.fixture
async def world() -> AsyncIterator[DatabasesApp]:
    made = DatabasesApp()
    async with made.http:
        yield made


async def test_a_ready_database_is_answered_as_the_contract_says(world: DatabasesApp) -> None:
    await world.add("a", TenantState.READY)
    reply = await world.get()
    assert reply.status_code == 200
    assert reply.json() == {
        "id": "a",
        "user_id": "user-a",
        "db_id": "id-db-a",
        "db_name": "db-a",
        "hostname": "127.0.0.1:8000",
        "url": "http://127.0.0.1:8000/db/db-a/",
        "access_token": "token-1-db-a-session:session-of-user-a",
        "access_level": "full",
        "profile": "full",
        "expires_at": "2026-01-31T10:35:00.000Z",
        "schema_version": 7,
        "status": "ready",
    }
    assert msgspec.json.decode(reply.content, type=DatabaseCredentials).status == "ready"


async def test_a_client_may_ask_for_a_weaker_token(world: DatabasesApp) -> None:
    await world.add("a", TenantState.READY)
    assert (await world.get(query="?access_level=read_only")).json()["access_level"] == "read_only"
    assert (await world.get(query="?access_level=full")).json()["access_level"] == "full"
    for profile, level in (("none", "read_only"), ("read_only", "read_only"), ("rows", "full"), ("full", "full")):
        answer = (await world.get(query=f"?access_level={profile}")).json()
        assert (answer["profile"], answer["access_level"]) == (profile, level)


async def test_answers_of_services_from_before_profiles_and_clients_from_before_go_on_working(
    world: DatabasesApp,
) -> None:
    class Older(msgspec.Struct, frozen=True, kw_only=True):
        access_token: str
        access_level: Literal["full", "read_only"]

    await world.add("a", TenantState.READY)
    reply = await world.get(query="?access_level=rows")
    assert msgspec.json.decode(reply.content, type=Older).access_level == "full"
    older = reply.json()
    assert older.pop("profile") == "rows"
    read = msgspec.convert(older, DatabaseCredentials)
    assert (read.access_level, read.profile) == ("full", None)


@pytest.mark.parametrize("state", [TenantState.PROVISIONING, TenantState.FAILED])
async def test_a_database_in_the_making_is_202_without_token_url_or_cause(
    world: DatabasesApp, state: TenantState
) -> None:
    await world.add("a", state)
    reply = await world.get()
    body = reply.json()
    assert reply.status_code == 202
    assert 1 <= int(reply.headers["retry-after"]) <= 10
    assert body.pop("message").startswith(("Your database", "Creating your database"))
    assert body == {"id": "a", "user_id": "user-a", "db_name": "db-a", "schema_version": 7, "status": state.value}
    assert "secret detail" not in reply.text


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        (TenantState.SUSPENDED, 403, "database_suspended"),
        (TenantState.DELETING, 409, "database_deleting"),
        (TenantState.DELETED, 410, "database_deleted"),
    ],
)
async def test_a_database_out_of_use_is_a_problem_with_its_own_code(
    world: DatabasesApp, state: TenantState, status: int, code: str
) -> None:
    await world.add("a", state)
    reply = await world.get()
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert "access_token" not in reply.text


@pytest.mark.parametrize(
    "query",
    [
        "?access_level=admin",
        "?access_level=",
        "?access_level=FULL",
        "?access_level=full&access_level=read_only",
        "?access_level=%00",
        "?access_level=%ff%fe",
        "?access_level[]=full",
        "?access_level=null",
        "?user_id=user-b",
        "?db_name=db-b",
    ],
)
async def test_odd_queries_never_give_a_5xx_or_somebody_elses_database(world: DatabasesApp, query: str) -> None:
    await world.add("a", TenantState.READY)
    await world.add("b", TenantState.READY)
    reply = await world.get(query=query)
    assert reply.status_code in {200, 400}
    if reply.status_code == 200:
        assert reply.json()["db_name"] == "db-a"
    else:
        assert reply.json()["code"] == "invalid_input"


async def test_a_bad_access_level_is_400(world: DatabasesApp) -> None:
    await world.add("a", TenantState.READY)
    for query in ("?access_level=admin", "?access_level=", "?access_level=FULL"):
        assert (await world.get(query=query)).status_code == 400


async def test_without_a_session_it_is_401(world: DatabasesApp) -> None:
    reply = await world.get(user="")
    assert (reply.status_code, reply.json()["code"]) == (401, "unauthenticated")


async def test_a_user_without_a_tenant_is_404(world: DatabasesApp) -> None:
    reply = await world.get(user="stranger")
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


async def test_a_lost_database_and_an_absent_central_one_are_503_with_retry_after(world: DatabasesApp) -> None:
    await world.add("a", TenantState.READY)
    await world.provider.delete("db-a")
    lost = await world.get()
    world.store.is_away = True
    away = await world.get()
    assert [lost.status_code, away.status_code] == [503, 503]
    assert away.json()["code"] == CentralUnavailable.code
    assert lost.headers["retry-after"]
    assert away.headers["retry-after"]


async def test_other_methods_are_405(world: DatabasesApp) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        reply = await world.http.request(method, "/databases/user", headers={"user": "user-a"})
        assert reply.status_code == 405


def test_the_openapi_description_has_both_answers(world: DatabasesApp) -> None:
    described = world.app.openapi_schema.to_schema()["paths"]["/databases/user"]["get"]
    assert {"200", "202"} <= set(described["responses"])
    parameters = [each["name"] for each in described["parameters"]]
    assert parameters == ["access_level"]
