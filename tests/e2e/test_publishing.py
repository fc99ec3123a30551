"""CI publishes a signed release over HTTP: who may, what is refused, and that repeating is always safe."""

import copy
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from freehold.client import FreeholdClient
from freehold.migrate.types import Migration
from freehold.registry.types import PartFile
from tests.e2e.attack_caller import ODD_VALUES
from tests.e2e.attack_shapes import check_refusal
from tests.e2e.attack_wire import Wire
from tests.e2e.people import sign_up
from tests.e2e.releases import STRANGERS_KEY, Body, Publisher, release, table, tables


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    """Three versions are published."""
    opened = Publisher(tmp_path_factory.mktemp("publisher"))
    assert opened.publish(tables(3)) == {
        "published": [1, 2, 3], "already": 0, "version": 3, "without_file": [], "renewed": True, "dry_run": False,
    }  # fmt: skip
    yield opened
    opened.service.stop()


def next_table(publisher: Publisher) -> list[Migration]:
    """All that is published, and one more."""
    page = publisher.page()
    published = [Migration(version=each["version"], name=each["name"], sql=each["sql"]) for each in page["migrations"]]
    return [*published, table(page["version"] + 1)]


# Who may -----------------------------------------------------------------------------------------


async def test_a_key_for_publishing_publishes_and_clients_take_it(publisher: Publisher) -> None:
    migrations = next_table(publisher)
    [version] = publisher.publish(migrations)["published"]
    assert version == len(migrations)
    async with FreeholdClient(publisher.service.url) as client:
        assert (await client.pull()).migrations == tuple(migrations)
    newest = publisher.recorded("registry.migration_published")[0]
    assert newest["target"] == f"migration:{version}"
    owner = httpx.get(f"{publisher.service.url}/api/auth/get-session", headers=publisher.owner).json()
    assert newest["actor"] == f"user:{owner['user']['id']}"


async def test_a_further_part_is_published_with_it_and_clients_prove_it(publisher: Publisher) -> None:
    app = PartFile(name="app.toml", content=b"[app]\nname = 'words'\n")
    migrations = next_table(publisher)
    body = release(migrations, parts=[app])
    for wrong in ([], [{**body["parts"][0], "content": "AAAA"}], [{**body["parts"][0], "must_understand": True}]):
        refused = publisher.post({**body, "parts": wrong})
        assert (refused.status_code, refused.json()["code"]) == (409, "bad_release")
    for wrong in (body["parts"] * 2, [{**body["parts"][0], "name": "../app.toml"}], [{"name": "a"}]):
        assert publisher.post({**body, "parts": wrong}).status_code == 400
    assert publisher.publish(migrations, parts=[app])["renewed"]
    async with FreeholdClient(publisher.service.url) as client:
        assert (await client.pull()).parts == (app.listed,)
        assert await client.part("app.toml") == app.content
    assert publisher.recorded("registry.part_published")[0]["target"] == "part:app.toml"
    assert publisher.publish(migrations)["renewed"]  # a release without it
    assert publisher.recorded("registry.part_removed")[0]["target"] == "part:app.toml"
    async with FreeholdClient(publisher.service.url) as client:
        assert (await client.pull()).parts == ()


def test_an_administrator_publishes_too(publisher: Publisher) -> None:
    reply = publisher.post(release(next_table(publisher)), publisher.admin)
    assert (reply.status_code, reply.json()["renewed"]) == (200, True)


def test_nobody_else_publishes(publisher: Publisher) -> None:
    body = release(next_table(publisher))
    before = publisher.page()
    everybody: list[tuple[dict[str, str], int, str]] = [
        ({}, 401, "unauthenticated"),
        ({"authorization": "Bearer forged"}, 401, "unauthenticated"),
        ({"x-api-key": "a" * 64}, 401, "invalid_api_key"),
        (publisher.owner, 403, "forbidden"),
        (publisher.api_key(), 403, "scope_missing"),
        (publisher.api_key("databases:write"), 403, "scope_missing"),
        (publisher.api_key("registry:force"), 403, "scope_missing"),
        (publisher.api_key("registry:read", "registry:write"), 403, "scope_missing"),
        # With a key in the request nothing else counts.
        ({**publisher.admin, **publisher.api_key()}, 403, "scope_missing"),
    ]
    for headers, status, code in everybody:
        for more in ({}, {"dry_run": True}):
            reply = publisher.post({**body, **more}, headers)
            assert (reply.status_code, reply.json()["code"]) == (status, code), headers
        # Nobody's body is read before it is known whose it is.
        assert publisher.post({"garbage": 1}, headers).status_code == status
    assert publisher.page() == before


def test_users_cannot_give_themselves_a_key_for_publishing(publisher: Publisher) -> None:
    reply = httpx.post(
        f"{publisher.service.url}/api/auth/api-key/create",
        headers=publisher.owner,
        json={"permissions": {"registry": ["publish"]}},
    )
    assert reply.status_code == 400


def test_a_key_for_publishing_opens_nothing_else(publisher: Publisher) -> None:
    for method, path, status in (
        ("GET", "/databases/user", 403),
        ("GET", "/admin/tenants", 401),
        ("GET", "/admin/audit", 401),
        ("GET", "/admin/registry/census", 401),
        ("POST", "/migrations/register", 401),
    ):
        reply = httpx.request(method, f"{publisher.service.url}{path}", headers=publisher.ci)
        assert reply.status_code == status, path


# What is refused ---------------------------------------------------------------------------------


def one_byte_of_new_sql(body: Body) -> None:
    body["migrations"][-1]["sql"] = body["migrations"][-1]["sql"].replace("(x)", "(y)")


def one_byte_of_published_sql(body: Body) -> None:
    body["migrations"][1]["sql"] = body["migrations"][1]["sql"].replace("(x)", "(y)")


def without_the_newest(body: Body) -> None:
    del body["migrations"][-1]


def without_one_in_the_middle(body: Body) -> None:
    del body["migrations"][1]


def two_in_the_wrong_order(body: Body) -> None:
    body["migrations"].reverse()


def a_longer_life(body: Body) -> None:
    body["signed"]["manifest"]["expires_at_s"] += 1


def a_higher_counter(body: Body) -> None:
    body["signed"]["manifest"]["counter"] += 1


def a_row_without_its_signature(body: Body) -> None:
    body["signed"]["rows"].pop()


def the_signature_of_another_row(body: Body) -> None:
    body["signed"]["rows"][-1] = body["signed"]["rows"][0]


def the_key_of_a_stranger(body: Body) -> None:
    body["signed"]["public_key"] = STRANGERS_KEY.public_key


def as_it_is(_body: Body) -> None:
    pass


_YEAR_MS = 365 * 86_400_000


@pytest.mark.parametrize(
    ("tamper", "made_with", "status", "code"),
    [
        (one_byte_of_new_sql, {}, 409, "bad_release"),
        (one_byte_of_published_sql, {}, 409, "bad_release"),
        (without_the_newest, {}, 409, "bad_release"),
        (without_one_in_the_middle, {}, 409, "bad_release"),
        (two_in_the_wrong_order, {}, 409, "bad_release"),
        (a_longer_life, {}, 409, "bad_release"),
        (a_higher_counter, {}, 409, "bad_release"),
        (a_row_without_its_signature, {}, 409, "bad_release"),
        (the_signature_of_another_row, {}, 409, "bad_release"),
        (the_key_of_a_stranger, {}, 409, "bad_release"),
        (as_it_is, {"signer": STRANGERS_KEY}, 409, "bad_release"),
        (as_it_is, {"later_ms": -_YEAR_MS}, 409, "bad_release"),
        (as_it_is, {"days": -1}, 409, "bad_release"),
    ],
)
def test_a_tampered_release_is_refused(
    publisher: Publisher, tamper: Callable[[Body], None], made_with: dict[str, Any], status: int, code: str
) -> None:
    before = publisher.page()
    body = release(next_table(publisher), **made_with)
    tamper(body)
    for dry_run in (True, False):
        reply = publisher.post({**body, "dry_run": dry_run})
        assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    assert publisher.page() == before


def test_what_no_database_takes_is_not_published(publisher: Publisher) -> None:
    before = publisher.page()
    published = next_table(publisher)[:-1]
    for sql in ("CREATE INDEX i ON nothing (x);\n", "SELECT 'a;\n", "COMMIT;\n", "-- nothing\n"):
        broken = [*published, Migration(version=len(published) + 1, name="broken", sql=sql)]
        reply = publisher.post(release(broken))
        assert (reply.status_code, reply.json()["code"]) == (400, "bad_registry"), sql
        assert reply.json()["faults"]
    assert publisher.page() == before


def test_history_that_was_edited_and_signed_is_refused(publisher: Publisher) -> None:
    before = publisher.page()
    migrations = next_table(publisher)
    migrations[1] = table(2, "x", "y")
    reply = publisher.post(release(migrations))
    assert (reply.status_code, reply.json()["code"]) == (409, "published_migration_changed")
    # Nor can it be played as an old release, of which nothing is looked at any more.
    reply = publisher.post(release(migrations[:2], later_ms=-60_000, days=1))
    assert (reply.status_code, reply.json()["code"]) == (409, "published_migration_changed")
    for wrong in (migrations[::-1], [migrations[0], *migrations[2:]]):
        reply = publisher.post(release(wrong))
        assert (reply.status_code, reply.json()["code"]) in {(400, "bad_registry"), (409, "bad_release")}
    assert publisher.page() == before


def test_an_old_release_played_again_changes_nothing(publisher: Publisher) -> None:
    old = release(next_table(publisher))
    assert publisher.post(old).json()["renewed"]
    publisher.publish(next_table(publisher))
    before = publisher.page()
    replayed = publisher.post(old)
    assert (replayed.status_code, replayed.json()["published"], replayed.json()["renewed"]) == (200, [], False)
    assert publisher.page() == before
    # An older commit that was signed again cannot take back what came after it.
    shorter = publisher.post(release(next_table(publisher)[:-2]))
    assert (shorter.status_code, shorter.json()["code"]) == (409, "bad_release")
    assert publisher.page() == before


def test_a_contract_migration_waits_for_older_apps(publisher: Publisher) -> None:
    said = {"Freehold-App-Version": "1.0", "Freehold-Device": "one"}
    pull_url = f"{publisher.service.url}/migrations"
    httpx.get(pull_url, headers=said)  # of nobody: it is waited for by nothing
    migrations = next_table(publisher)
    contract = table(len(migrations), comment="-- phase: contract\n-- min_app: 2.0\n")
    alone = release([*migrations[:-1], contract])
    assert publisher.post({**alone, "dry_run": True}).status_code == 200
    httpx.get(pull_url, headers={**said, **sign_up(publisher.service.url).headers})
    body = release([*migrations[:-1], contract])
    for dry_run in (True, False):
        refused = publisher.post({**body, "dry_run": dry_run})
        assert (refused.status_code, refused.json()["code"]) == (409, "contract_too_early")
        forced = publisher.post({**body, "dry_run": dry_run, "force": True})
        assert (forced.status_code, forced.json()["code"]) == (403, "scope_missing")
    key = publisher.api_key("registry:publish", "registry:force")
    assert publisher.post({**body, "dry_run": True, "force": True}, key).status_code == 200
    assert publisher.recorded("registry.contract_forced") == []
    assert publisher.post({**body, "force": True}, key).status_code == 200
    [entry] = publisher.recorded("registry.contract_forced")
    assert entry["target"] == f"migration:{contract.version}"


# What cannot be read -----------------------------------------------------------------------------


def leaves(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from leaves(each, *path, key)


def with_value(body: Body, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(body)
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def test_odd_values_anywhere_are_a_clear_refusal(publisher: Publisher) -> None:
    before = publisher.page()
    wire = Wire(publisher.service.port)
    headers = ((b"Authorization", publisher.admin["authorization"].encode()), (b"Content-Type", b"application/json"))
    body = release(next_table(publisher)[-1:], force=False, dry_run=False)  # never whole, so never published
    odd = [each for each in ODD_VALUES if each != float("inf")] + ["a\ud800", "\ud800" * 64]
    for path in leaves(body):
        for each in odd:
            sent = with_value(body, path, each)
            answer = wire.send("POST", "/migrations/publish", headers, json.dumps(sent).encode())
            check_refusal(answer, "/migrations/publish")
    for misspelt in ({"dryRun": True}, {"dry-run": True}, {"Force": True}):
        assert publisher.post({**release(next_table(publisher)), **misspelt}).status_code == 400
    assert publisher.page() == before


# Again, and at once ------------------------------------------------------------------------------


def at_once(publisher: Publisher, *bodies: Body) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(publisher.post, bodies))


def test_the_same_release_at_once_and_again_is_published_once(publisher: Publisher) -> None:
    body = release(next_table(publisher))
    version = len(body["migrations"])
    replies = [*at_once(publisher, *[body] * 6), publisher.post(body)]
    assert [reply.status_code for reply in replies] == [200] * 7
    answers = [reply.json() for reply in replies]
    assert sorted(each["published"] for each in answers) == [[]] * 6 + [[version]]
    assert {each["version"] for each in answers} == {version}
    recorded = [each["target"] for each in publisher.recorded("registry.migration_published")]
    assert recorded.count(f"migration:{version}") == 1


def test_two_that_signed_the_same_commit_both_succeed(publisher: Publisher) -> None:
    bodies = [release(next_table(publisher), later_ms=ms) for ms in range(4)]
    replies = at_once(publisher, *bodies)
    assert [reply.status_code for reply in replies] == [200] * 4
    assert sum(bool(reply.json()["published"]) for reply in replies) == 1
    assert publisher.page()["counter"] == bodies[-1]["signed"]["manifest"]["counter"]


def test_of_two_histories_one_wins_and_the_other_is_told(publisher: Publisher) -> None:
    migrations = next_table(publisher)
    other = [*migrations[:-1], table(len(migrations), "x", "y")]
    replies = at_once(publisher, release(migrations), release(other), release(migrations), release(other))
    codes = [reply.json().get("code", "") for reply in replies]
    assert sorted(codes) == ["", "", "published_migration_changed", "published_migration_changed"]
    assert publisher.version == len(migrations)
    assert publisher.service.run("registry", "keys", "list").returncode == 0


def test_a_dry_run_writes_nothing(publisher: Publisher) -> None:
    migrations, before = next_table(publisher), publisher.page()
    answer = publisher.publish(migrations, dry_run=True)
    assert (answer["published"], answer["renewed"], answer["dry_run"]) == ([len(migrations)], True, True)
    assert publisher.page() == before


def test_with_nothing_new_the_signature_is_renewed(publisher: Publisher) -> None:
    before = publisher.page()
    answer = publisher.publish(next_table(publisher)[:-1])
    assert (answer["published"], answer["renewed"]) == ([], True)
    after = publisher.page()
    assert after["counter"] > before["counter"]
    assert after["chain"] == before["chain"]


# Killed ------------------------------------------------------------------------------------------


def test_a_service_killed_at_any_moment_has_all_of_it_or_nothing(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.publish(tables(1))
    for round_ in range(6):
        migrations = next_table(publisher)
        version = len(migrations) + 1
        body = release([*migrations, table(version)])
        with (
            ThreadPoolExecutor(1) as pool,
            closing(sqlite3.connect(publisher.service.data_dir / "central.db", isolation_level=None)) as held,
        ):
            if round_ % 2:  # while it waits to write; else anywhere from before it was read to after the answer
                held.execute("BEGIN IMMEDIATE")
            sent = pool.submit(told, publisher, body)
            wait([sent], timeout=0.04 * round_)
            publisher.service.kill()
            was_told = sent.result()
        publisher.service.start()
        assert publisher.version in ({version} if was_told else {version - 2, version})
        assert publisher.post(body).json()["version"] == version
        assert publisher.post(body).json()["renewed"] is False
    recorded = [each["target"] for each in publisher.recorded("registry.migration_published")]
    assert sorted(recorded) == sorted(f"migration:{version}" for version in range(1, publisher.version + 1))
    assert publisher.service.run("audit", "verify").returncode == 0
    publisher.service.stop()


def told(publisher: Publisher, body: Body) -> bool:
    """Whether the answer that it is published came."""
    try:
        return publisher.post(body, publisher.admin).status_code == 200
    except httpx.TransportError:
        return False
