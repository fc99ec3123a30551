"""The registry over HTTP: the contract, ETags, bad input."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from freehold.http.problems import EXCEPTION_HANDLERS
from freehold.http.registry.routes import registry_routes
from freehold.migrate.signature import is_text_signed, manifest_text
from freehold.registry.service import Registry
from tests.integration.registry_parts import SIGNER, by_hand, history, open_registry

Client = AsyncTestClient[Litestar]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "central.db"


@pytest.fixture
async def registry(path: Path) -> AsyncIterator[Registry]:
    async with open_registry(path) as opened:
        await opened.publish(history(3))
        yield opened


def app_of(registry: Registry) -> Litestar:
    return Litestar(
        [registry_routes(registry)],
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=2 * 1024 * 1024,
        logging_config=None,
    )


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[Client]:
    async with AsyncTestClient(app_of(registry)) as opened:
        yield opened


async def test_current_version(client: Client) -> None:
    reply = await client.get("/migrations/current-version")
    assert reply.json() == {"version": 3}
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-cache"


async def test_full_holds_every_script(client: Client, registry: Registry) -> None:
    reply = await client.get("/migrations/full")
    assert reply.json() == [
        {
            "version": row.version,
            "description": row.description,
            "sql_script": row.sql,
            "checksum": row.checksum,
            "created_at": row.created_at,
        }
        for row in (await registry.snapshot()).rows
    ]
    assert reply.json()[0]["description"] == "Table number 1."


async def test_the_signed_form_can_be_checked(client: Client) -> None:
    page = (await client.get("/migrations")).json()
    assert list(page) == [
        *("version", "chain", "counter", "expires_at_s", "signature", "key_id"),
        *("migrations", "withheld", "needs_app", "release"),
    ]
    assert page["version"] == 3
    assert [entry["version"] for entry in page["migrations"]] == [1, 2, 3]
    assert page["chain"] == page["migrations"][-1]["chain"]
    [key] = (await client.get("/migrations/keys")).json()
    assert key == {"key_id": page["key_id"], "algorithm": "ed25519", "public_key": SIGNER.public_key}
    text = manifest_text(3, page["chain"], page["counter"], page["expires_at_s"])
    assert is_text_signed(text, page["signature"], key["public_key"])
    release = page["release"]
    assert is_text_signed(release["text"].encode(), release["signature"], key["public_key"])
    second = page["migrations"][1]
    assert second["statements"] == ["DROP TABLE t1", "CREATE TABLE t1 (x, y)", "CREATE TABLE t2 (x)"]
    assert [entry["foreign_keys"] for entry in page["migrations"]] == ["on", "off", "on"]


@pytest.mark.parametrize(("after", "versions"), [(0, [1, 2, 3]), (2, [3]), (3, []), (9999, [])])
async def test_after_gives_what_is_missing(client: Client, after: int, versions: list[int]) -> None:
    page = (await client.get("/migrations", params={"after": after})).json()
    assert [entry["version"] for entry in page["migrations"]] == versions
    assert page["version"] == 3


async def test_an_empty_registry_is_version_0(path: Path) -> None:
    async with open_registry(path) as registry, AsyncTestClient(app_of(registry)) as client:
        assert (await client.get("/migrations/current-version")).json() == {"version": 0}
        assert (await client.get("/migrations/full")).json() == []
        assert (await client.get("/migrations/keys")).json() == []
        empty = {"version": 0, "chain": "", "counter": 0, "expires_at_s": 0, "signature": "", "key_id": ""}
        empty |= {"migrations": [], "withheld": [], "needs_app": "", "release": None}
        assert (await client.get("/migrations?after=0")).json() == empty


PULLS = ["/migrations", "/migrations?after=2", "/migrations/full", "/migrations/current-version", "/migrations/keys"]


@pytest.mark.parametrize("url", PULLS)
@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', '"other" ,W/{}', "*"])
async def test_a_client_that_has_it_gets_304(client: Client, url: str, form: str) -> None:
    first = await client.get(url)
    etag = first.headers["etag"]
    assert etag.startswith('"')
    second = await client.get(url, headers={"If-None-Match": form.format(etag)})
    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["etag"] == etag
    assert "content-length" not in second.headers
    third = await client.get(url, headers={"If-None-Match": '"other"'})
    assert (third.status_code, third.content) == (200, first.content)


@pytest.mark.parametrize("url", [pull for pull in PULLS if "keys" not in pull])
async def test_publishing_changes_the_etag_at_once(client: Client, registry: Registry, url: str) -> None:
    etag = (await client.get(url)).headers["etag"]
    await registry.publish(history(4))
    reply = await client.get(url, headers={"If-None-Match": etag})
    assert reply.status_code == 200
    assert reply.headers["etag"] != etag


async def test_pages_after_different_versions_have_different_etags(client: Client) -> None:
    etags = [(await client.get("/migrations", params={"after": after})).headers["etag"] for after in range(4)]
    assert len(set(etags)) == 4


async def test_answers_do_not_grow_from_one_request_to_the_next(client: Client) -> None:
    first = await client.get("/migrations/full")
    for _ in range(3):
        again = await client.get("/migrations/full")
    assert again.headers.multi_items() == first.headers.multi_items()


async def test_verify_tells_what_is_required(client: Client, registry: Registry) -> None:
    reply = await client.post("/migrations/verify", json={"version": 1})
    assert reply.status_code == 200
    answer = reply.json()
    assert (answer["status"], answer["currentVersion"], answer["clientVersion"]) == ("update_required", 3, 1)
    full = (await client.get("/migrations/full")).json()
    assert answer["requiredMigrations"] == full[1:]


async def test_verify_tells_who_is_up_to_date(client: Client) -> None:
    reply = await client.post("/migrations/verify", json={"version": 3})
    assert reply.json() == {"status": "latest", "currentVersion": 3, "clientVersion": 3}


async def test_a_client_ahead_is_a_conflict(client: Client) -> None:
    reply = await client.post("/migrations/verify", json={"version": 4})
    assert reply.status_code == 409
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "client_ahead"
    assert "at version 4, but the newest published is 3" in reply.json()["detail"]


@pytest.mark.parametrize(
    "after", ["abc", "-1", "10000", "9" * 30, "9" * 5000, "1.5", "", "0x1", "null", "٣", "%00", "1&after=x"]
)
async def test_a_bad_version_in_the_query_is_400(client: Client, after: str) -> None:
    reply = await client.get(f"/migrations?after={after}")
    assert reply.status_code == 400, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert "after" in reply.text


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b"3", b"{}", b'{"version":null}', b'{"version":-1}', b'{"version":1.5}',
     b'{"version":true}', b'{"version":[1]}', b'{"version":1e400}', b'{"version":99999999999999999999999}',
     b'{"version":10000}', b"\xff\xfe", b'{"version":"x"}', b"[" * 100_000],
)  # fmt: skip
async def test_a_bad_body_is_400(client: Client, body: bytes) -> None:
    reply = await client.post("/migrations/verify", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400, reply.text
    assert reply.json()["code"] == "invalid_input"


async def test_a_huge_body_is_413(client: Client) -> None:
    reply = await client.post("/migrations/verify", json={"version": 1, "more": "x" * 3 * 1024 * 1024})
    assert reply.status_code == 413
    assert reply.json()["code"] == "too_large"


async def test_a_tampered_registry_is_503_and_never_served(client: Client, path: Path) -> None:
    etag = (await client.get("/migrations/full")).headers["etag"]
    by_hand(path, "UPDATE published_migration SET sql = 'DROP TABLE t1;' WHERE version = 2")
    for url in PULLS:
        reply = await client.get(url, headers={"If-None-Match": etag})
        assert reply.status_code == 503, url
        assert reply.json()["code"] == "registry_tampered"
    assert (await client.post("/migrations/verify", json={"version": 1})).status_code == 503


async def test_without_the_central_database_the_answer_is_a_prompt_503(client: Client, path: Path) -> None:
    assert (await client.get("/migrations/full")).status_code == 200
    by_hand(path, "DELETE FROM change")
    db = sqlite3.connect(path)
    db.execute("DROP TABLE published_migration")
    db.commit()
    db.close()
    reply = await client.get("/migrations/full")
    assert reply.status_code in {200, 503}  # the rows in memory are right until a change of theirs is told
    db = sqlite3.connect(path)
    db.execute("DROP TABLE change")
    db.commit()
    db.close()
    reply = await client.get("/migrations/full")
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) > 0


async def test_the_description_of_the_api_names_the_answers(registry: Registry) -> None:
    schema: dict[str, Any] = app_of(registry).openapi_schema.to_schema()
    ok = schema["paths"]["/migrations"]["get"]["responses"]["200"]
    assert ok["content"]["application/json"]["schema"]["$ref"].endswith("MigrationPage")
