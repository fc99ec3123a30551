"""The SDK pulls the registry and refuses whatever somebody between it and the service changed."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar

from freehold.client import FileKeyStore, FreeholdClient, MemoryKeyStore
from freehold.errors import InvalidInput, Unavailable
from freehold.http.problems import EXCEPTION_HANDLERS
from freehold.http.registry.routes import registry_routes
from freehold.migrate.release_text import ReleaseText, encoded
from freehold.migrate.signature import RegistryTampered, manifest_text
from freehold.migrate.types import Migration, chains
from freehold.registry.service import Registry
from tests.integration.registry_parts import OTHER_SIGNER, SIGNER, by_hand, history, open_registry

SERVICE = "http://freehold.test"
TRUSTED = {SIGNER.key_id: SIGNER.public_key}

Page = dict[str, Any]
Tampering = Callable[[Page], object]


class Between(httpx.AsyncBaseTransport):
    """Somebody on the wire: passes on to the application, changes what comes back."""

    def __init__(self, app: Litestar, **tampering: Tampering) -> None:
        self.to_app = httpx.ASGITransport(app)  # type: ignore[arg-type]
        self.tampering = tampering
        self.requests: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url.raw_path.decode()}")
        reply = await self.to_app.handle_async_request(request)
        tamper = self.tampering.get("keys" if request.url.path.endswith("/keys") else "page")
        if tamper is None:
            return reply
        body = msgspec.json.decode(await reply.aread())
        changed = tamper(body)
        return httpx.Response(200, json=body if changed is None else changed)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with open_registry(tmp_path / "central.db") as opened:
        await opened.publish(history(3))
        yield opened


def app_of(registry: Registry) -> Litestar:
    return Litestar([registry_routes(registry)], exception_handlers=EXCEPTION_HANDLERS, logging_config=None)


def client_of(registry: Registry, tamper: Tampering | None = None, **options: Any) -> FreeholdClient:
    options.setdefault("trusted_keys", TRUSTED)
    tampering = {"page": tamper} if tamper else {}
    return FreeholdClient(SERVICE, httpx.AsyncClient(transport=Between(app_of(registry), **tampering)), **options)


async def test_the_whole_registry_is_pulled_and_verified(registry: Registry) -> None:
    pulled = await client_of(registry).pull()
    assert pulled.migrations == tuple(history(3))
    assert (pulled.after, pulled.version, pulled.chain) == (0, 3, chains(history(3))[-1])
    assert pulled.key_id == SIGNER.key_id


async def test_only_what_is_new_is_pulled_from_a_known_chain(registry: Registry) -> None:
    known = chains(history(3))
    pulled = await client_of(registry).pull(2, chain=known[1])
    assert [migration.version for migration in pulled.migrations] == [3]
    assert (await client_of(registry).pull(3, chain=known[2])).migrations == ()


async def test_an_empty_registry_needs_no_signature(tmp_path: Path) -> None:
    async with open_registry(tmp_path / "central.db") as registry:
        pulled = await client_of(registry, trusted_keys=None).pull()
        assert (pulled.version, pulled.migrations) == (0, ())


def _entry(page: Page, version: int) -> Page:
    found: Page = page["migrations"][version - 1]
    return found


def one_byte_of_sql(page: Page) -> None:
    _entry(page, 2)["sql"] = _entry(page, 2)["sql"].replace("t2", "t3")


def one_byte_with_its_checksum(page: Page) -> None:
    one_byte_of_sql(page)
    _entry(page, 2)["checksum"] = Migration(version=2, name="a", sql=_entry(page, 2)["sql"]).checksum


def a_history_of_its_own(page: Page) -> None:
    """Everything made again consistently, except the signature."""
    one_byte_of_sql(page)
    migrations = [Migration(version=each["version"], name="a", sql=each["sql"]) for each in page["migrations"]]
    for each, migration, link in zip(page["migrations"], migrations, chains(migrations), strict=True):
        each["checksum"], each["chain"] = migration.checksum, link
    page["chain"] = page["migrations"][-1]["chain"]


def _text(page: Page) -> bytes:
    return manifest_text(page["version"], page["chain"], page["counter"], page["expires_at_s"])


def _signed_by_another_key(page: Page) -> None:
    release = ReleaseText(
        version=page["version"], chain=page["chain"], counter=page["counter"], expires_at_s=page["expires_at_s"]
    )
    text = encoded(release)
    page["signature"] = OTHER_SIGNER.sign(_text(page))
    page["release"] = {"text": text, "signature": OTHER_SIGNER.sign(text.encode())}


def its_own_history_under_another_key(page: Page) -> None:
    a_history_of_its_own(page)
    page["key_id"] = OTHER_SIGNER.key_id
    _signed_by_another_key(page)


def its_own_history_under_a_borrowed_key_id(page: Page) -> None:
    a_history_of_its_own(page)
    _signed_by_another_key(page)


def a_dropped_version(page: Page) -> None:
    del page["migrations"][1]


def a_dropped_head(page: Page) -> None:
    del page["migrations"][2]


def a_dropped_head_told_consistently(page: Page) -> None:
    del page["migrations"][2]
    page["version"], page["chain"] = 2, page["migrations"][1]["chain"]


def swapped_order(page: Page) -> None:
    page["migrations"][0], page["migrations"][1] = page["migrations"][1], page["migrations"][0]


def swapped_order_renumbered(page: Page) -> None:
    swapped_order(page)
    for version, each in enumerate(page["migrations"], start=1):
        each["version"] = version


def an_added_version(page: Page) -> None:
    page["migrations"].append({**_entry(page, 3), "version": 4})


def nothing_published(page: Page) -> None:
    page.update(version=0, chain="", signature="", key_id="", release=None, migrations=[])


def nothing_but_scripts(page: Page) -> None:
    page.update(version=0, chain="", signature="", key_id="", release=None)


def no_signature(page: Page) -> None:
    page["release"]["signature"] = ""


def the_older_signature_only(page: Page) -> None:
    page["release"] = None


def another_text(page: Page) -> None:
    page["release"]["text"] += f"part a {'ab' * 32}\n"


def no_text(page: Page) -> None:
    page["release"]["text"] = ""


def a_later_expiry(page: Page) -> None:
    page["expires_at_s"] += 1


def a_higher_counter(page: Page) -> None:
    page["counter"] += 1


def a_head_kept_back(page: Page) -> None:
    a_dropped_head(page)
    page["withheld"] = ["ab" * 32]


def a_withheld_version_made_up(page: Page) -> None:
    page["withheld"] = ["ab" * 32]


def withheld_nonsense(page: Page) -> None:
    a_dropped_head(page)
    page["withheld"] = ["nonsense"]


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (one_byte_of_sql, "SQL of migration 2 does not have its checksum"),
        (one_byte_with_its_checksum, "chain at migration 2"),
        (a_history_of_its_own, "of another release"),
        (its_own_history_under_another_key, "which is not trusted"),
        (its_own_history_under_a_borrowed_key_id, "signature over the text of version 3 is not valid"),
        (a_dropped_version, "expected migration 2, got 3"),
        (a_dropped_head, "the migrations end at 2"),
        (a_dropped_head_told_consistently, "of another release"),
        (swapped_order, "expected migration 1, got 2"),
        (swapped_order_renumbered, "chain at migration 1"),
        (an_added_version, "chain at migration 4"),
        (nothing_but_scripts, "newest version is 0, but the migrations end at 3"),
        (a_later_expiry, "of another release"),
        (a_higher_counter, "of another release"),
        (a_head_kept_back, "chain at version 3 does not follow"),
        (a_withheld_version_made_up, "newest version is 3, but the migrations end at 4"),
        (withheld_nonsense, "is not hex"),
        (no_signature, "signature over the text of version 3 is not valid"),
        (the_older_signature_only, "someone removed it"),
        (another_text, "signature over the text of version 3 is not valid"),
        (no_text, "signature over the text of version 3 is not valid"),
    ],
)
async def test_tampering_is_refused_with_its_reason(registry: Registry, tamper: Tampering, reason: str) -> None:
    with pytest.raises(RegistryTampered, match=reason):
        await client_of(registry, tamper).pull()


async def test_a_service_that_went_back_is_refused(registry: Registry) -> None:
    known = chains(history(3))[-1]
    with pytest.raises(RegistryTampered, match="older than version 3"):
        await client_of(registry, nothing_published).pull(3, chain=known)


@pytest.mark.parametrize("after", [1, 3])
async def test_another_history_than_the_known_one_is_refused(registry: Registry, after: int) -> None:
    with pytest.raises(RegistryTampered, match="chain at"):
        await client_of(registry).pull(after, chain="ab" * 32)


async def test_a_start_without_its_chain_is_refused(registry: Registry) -> None:
    for after, chain in ((2, ""), (0, "ab" * 32), (-1, ""), (2, "not hex"), (2, "é" * 64)):
        with pytest.raises(InvalidInput):
            await client_of(registry).pull(after, chain=chain)


async def test_no_trusted_keys_means_that_none_is_trusted(registry: Registry) -> None:
    with pytest.raises(RegistryTampered, match="not trusted"):
        await client_of(registry, trusted_keys={}).pull()


@pytest.mark.parametrize("kind", [MemoryKeyStore, FileKeyStore])
async def test_the_key_first_seen_is_pinned(registry: Registry, tmp_path: Path, kind: Any) -> None:
    store = kind(tmp_path / "keys.json") if kind is FileKeyStore else kind()
    await client_of(registry, trusted_keys=None, key_store=store).pull()
    assert await store.load(SERVICE) == TRUSTED
    again = client_of(registry, its_own_history_under_another_key, trusted_keys=None, key_store=store)
    with pytest.raises(RegistryTampered, match="not trusted"):
        await again.pull()
    assert await store.load(SERVICE) == TRUSTED


async def test_a_pinned_key_is_asked_for_once(registry: Registry) -> None:
    between = Between(app_of(registry))
    client = FreeholdClient(SERVICE, httpx.AsyncClient(transport=between))
    await client.pull()
    await client.pull()
    assert between.requests == ["GET /migrations?after=0", "GET /migrations/keys", "GET /migrations?after=0"]


async def test_a_key_is_pinned_only_when_everything_fits(registry: Registry) -> None:
    store = MemoryKeyStore()
    with pytest.raises(RegistryTampered):
        await client_of(registry, one_byte_of_sql, trusted_keys=None, key_store=store).pull()
    assert await store.load(SERVICE) == {}


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([], "does not announce"),
        ([{"key_id": SIGNER.key_id, "algorithm": "ed25519", "public_key": OTHER_SIGNER.public_key}], "fit its name"),
        ([{"key_id": SIGNER.key_id, "algorithm": "ed25519", "public_key": "!"}], "fit its name"),
    ],
)
async def test_a_key_that_does_not_fit_its_name_is_refused(registry: Registry, keys: object, reason: str) -> None:
    between = Between(app_of(registry), keys=lambda _: keys)
    client = FreeholdClient(SERVICE, httpx.AsyncClient(transport=between))
    with pytest.raises(RegistryTampered, match=reason):
        await client.pull()


async def test_a_replaced_key_is_taken_when_it_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    async with open_registry(path) as before:
        await before.publish(history(2))
    async with open_registry(path, OTHER_SIGNER) as registry:
        await registry.publish(history(3))
        with pytest.raises(RegistryTampered, match="if its operator replaced the key"):
            await client_of(registry).pull()
        both = {**TRUSTED, OTHER_SIGNER.key_id: OTHER_SIGNER.public_key}
        assert (await client_of(registry, trusted_keys=both).pull()).version == 3


async def test_a_damaged_file_of_keys_is_no_reason_to_trust_anew(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(InvalidInput, match="restore or remove"):
        await client_of(registry, trusted_keys=None, key_store=FileKeyStore(tmp_path / "keys.json")).pull()


async def test_keys_that_cannot_be_kept_are_told(registry: Registry, tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "cannot read"), (tmp_path / "nowhere" / "keys.json", "cannot pin")):
        with pytest.raises(InvalidInput, match=reason):
            await client_of(registry, trusted_keys=None, key_store=FileKeyStore(path)).pull()


async def test_keys_of_several_services_share_a_file(tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path / "keys.json")
    await store.pin("http://one", "a", "A")
    await store.pin("http://two", "b", "B")
    assert (await store.load("http://one"), await store.load("http://two")) == ({"a": "A"}, {"b": "B"})
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("answer", [[], {"version": 1}, "hello", None, {"version": "3"}])
async def test_an_answer_of_another_form_is_not_a_freehold_service(registry: Registry, answer: object) -> None:
    with pytest.raises(Unavailable, match="check the URL"):
        await client_of(registry, lambda _: [] if answer is None else answer).pull()


async def test_the_services_own_verdict_reaches_the_app(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    async with open_registry(path) as registry:
        await registry.publish(history(2))
        by_hand(path, "UPDATE published_migration SET sql = 'DROP TABLE t1;' WHERE version = 2")
        with pytest.raises(RegistryTampered, match="published migration 2"):
            await client_of(registry).pull()
