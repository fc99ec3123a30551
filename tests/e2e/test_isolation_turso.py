"""The isolation matrix where clients go to Turso: one user's credentials against another's database on the twin.

The same attacks as on what Freehold serves itself, against the database's host; and the service, which must never
give out anything but the caller's own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from testbed.servers import Service
from testbed.twin import ORGANIZATION, Twin, running_twin

from freehold.keys import load_key
from tests.e2e.attack_wire import Headers, Wire, bearer
from tests.e2e.attack_world import MINE, THEIRS, Neighbours, pipeline
from tests.e2e.people import run_sql, sign_up
from tests.e2e.test_isolation import CREDENTIALS_ELSEWHERE, FORGED, JSON, NAMING_HEADERS, QUESTIONS, READ, TARGETS


@dataclass(frozen=True)
class TursoWorld(Neighbours):
    """`a_name` and `b_name` are what tokens name: ids. In paths stand the databases' labels."""

    twin: Twin

    @property
    def words(self) -> dict[str, str]:
        a, b = (f"{each['db_name']}-{ORGANIZATION}" for each in (self.a_credentials, self.b_credentials))
        return {
            **{"a": a, "b": b, "B": b.upper(), "b64": self.b_name, "token": self.a_token},
            **{"session": self.a.token, "b_user": self.b.user_id, "b_email": self.b.email},
        }

    @property
    def a_name(self) -> str:
        return str(self.a_credentials["db_id"])

    @property
    def b_name(self) -> str:
        return str(self.b_credentials["db_id"])

    def key(self, name: str) -> Ed25519PrivateKey:
        return load_key(self.twin.data_dir / "key.pem") if name == "database-tokens.pem" else super().key(name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TursoWorld]:
    with running_twin() as twin:
        service = Service(tmp_path_factory.mktemp("service"), RATE_LIMITS="off", **twin.variables).start()
        try:
            a, b = sign_up(service.url), sign_up(service.url)
            mine, theirs = a.credentials(), b.credentials()
            for credentials, row in ((mine, MINE), (theirs, THEIRS)):
                run_sql(credentials, "CREATE TABLE marker (x TEXT)", f"INSERT INTO marker VALUES ('{row}')")
            wire = Wire(twin.port)
            wire.secrets.update({"a row of somebody else": THEIRS.encode()})
            wire.secrets.update({"somebody else's token": theirs["access_token"].encode()})
            yield TursoWorld(service, None, wire, Wire(twin.port), a, b, mine, theirs, twin)
        finally:
            service.stop()


@pytest.fixture(autouse=True)
def nothing_is_lost(world: TursoWorld) -> Iterator[None]:
    yield
    assert run_sql(world.b_credentials, "SELECT x FROM marker") == [[THEIRS]]


@pytest.mark.parametrize("target", TARGETS)
def test_no_spelling_of_a_url_leads_to_anothers_database(world: TursoWorld, target: str) -> None:
    answer = world.wire.send("POST", world.fill(target), (JSON, bearer(world.a_token)), READ)
    assert answer.status in {400, 401, 404, 405}, answer


@pytest.mark.parametrize("line", [*NAMING_HEADERS, f"Host: {{b}}-{ORGANIZATION}.localhost"])
def test_no_header_opens_anothers_database(world: TursoWorld, line: str) -> None:
    name, _, value = world.fill(line).partition(": ")
    extra = (name.encode(), value.encode())
    for path in ("/db/{a}/v3/pipeline", "/v3/pipeline"):
        answer = world.wire.send("POST", world.fill(path), (JSON, bearer(world.a_token), extra), READ)
        assert answer.status in {200, 400, 401, 404}, answer
        assert (answer.status == 200) is (MINE.encode() in answer.body)
    other = world.wire.send("POST", world.fill("/db/{b}/v3/pipeline"), (JSON, bearer(world.a_token), extra), READ)
    assert other.status == 404, other


@pytest.mark.parametrize(("target", "lines", "expected"), CREDENTIALS_ELSEWHERE)
def test_credentials_count_only_where_they_belong(
    world: TursoWorld, target: str, lines: list[str], expected: set[int]
) -> None:
    pairs = [world.fill(line).partition(":") for line in lines]
    headers: Headers = tuple((name.encode(), value.strip().encode()) for name, _, value in pairs)
    in_body = {**pipeline("SELECT x FROM marker"), "authToken": world.a_token, "jwt": world.a_token}
    for body in (READ, json.dumps(in_body).encode()):
        answer = world.wire.send("POST", world.fill(target), (JSON, *headers), body)
        assert answer.status in expected, answer


@pytest.mark.parametrize("name", FORGED)
def test_no_forged_token_opens_a_database(world: TursoWorld, name: str) -> None:
    for label in ("{a}", "{b}"):
        target = world.fill(f"/db/{label}/v3/pipeline")
        answer = world.wire.post(target, pipeline("SELECT x FROM marker"), FORGED[name](world))
        assert answer.status in {400, 401, 404}, answer


@pytest.mark.parametrize("target", QUESTIONS)
def test_the_service_gives_out_only_the_callers_own(world: TursoWorld, target: str) -> None:
    wire = Wire(world.service.port, world.wire.secrets)
    answer = wire.send("GET", world.fill(target), (bearer(world.a.token),))
    assert answer.status in {200, 400}, answer
    if answer.status == 200:
        assert (answer.json["user_id"], answer.json["db_id"]) == (world.a.user_id, world.a_name)


def test_what_opens_a_database_opens_no_platform_and_the_other_way_round(world: TursoWorld) -> None:
    for path in ("/v1/organizations", f"/v1/organizations/{ORGANIZATION}/databases", "/__faults"):
        for token in (world.a_token, world.a.token):
            assert world.wire.get(path, token).status == 401
    wire = Wire(world.service.port)
    assert wire.get("/databases/user", world.a_token).status == 401
