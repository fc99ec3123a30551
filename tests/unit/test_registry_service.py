"""Publishing and serving, on a store in memory."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.audit.types import Event
from freehold.changes import Listener, Topic
from freehold.errors import CentralUnavailable
from freehold.migrate.signature import RegistryTampered, is_signed, signed_text
from freehold.migrate.types import Migration, chains
from freehold.registry.published import PublishedRegistryCache
from freehold.registry.service import Registry
from freehold.registry.signed import signer_of
from freehold.registry.types import (
    AlreadyPublished,
    BadRegistry,
    ClientAhead,
    KeyStatement,
    Manifest,
    PartFile,
    PublishedMigration,
    PublishedMigrationChanged,
    RegistryKey,
    RegistryMoved,
    Stored,
)

SIGNER = signer_of(Ed25519PrivateKey.generate())
OTHER_SIGNER = signer_of(Ed25519PrivateKey.generate())


class Store:
    """Rows in memory, and the feed of their changes."""

    def __init__(self) -> None:
        self.rows: list[PublishedMigration] = []
        self.keys: list[RegistryKey] = []
        self.statements: list[KeyStatement] = []
        self.manifests: list[Manifest] = []
        self.parts: dict[str, bytes] = {}
        self.listeners: list[Listener] = []
        self.position = 0
        self.seen = -1
        self.loads = 0
        self.is_down = False
        self.gate: asyncio.Event | None = None
        self.has_read = asyncio.Event()

    async def load(self) -> Stored:
        self.loads += 1
        if self.is_down:
            raise CentralUnavailable("away")
        found = Stored(
            rows=list(self.rows),
            keys=list(self.keys),
            statements=list(self.statements),
            manifest=self.manifests[-1] if self.manifests else None,
            parts=list(self.parts.items()),
        )
        self.has_read.set()
        if self.gate:
            await self.gate.wait()
        return found

    async def append(
        self,
        migrations: Sequence[PublishedMigration],
        manifest: Manifest,
        key: RegistryKey,
        *,
        after: str,
        statements: Sequence[KeyStatement] = (),
        events: Sequence[Event] = (),
        parts: Sequence[PartFile] = (),
    ) -> None:
        await asyncio.sleep(0)
        if (self.rows[-1].chain if self.rows else "") != after:
            raise RegistryMoved("moved")
        if self.manifests and self.manifests[-1].counter >= manifest.counter:
            raise RegistryMoved("signed meanwhile")
        self.rows += migrations
        self.manifests.append(manifest)
        self.parts |= {part.listed.sha256: part.content for part in parts}
        await self.add_key(key, statements)

    async def add_key(self, key: RegistryKey, statements: Sequence[KeyStatement]) -> None:
        if key.key_id not in {each.key_id for each in self.keys}:
            self.keys.append(key)
        self.statements += statements
        self.position += 1

    def edit(self, at: int, /, **changes: object) -> None:
        self.rows[at - 1] = msgspec.structs.replace(self.rows[at - 1], **changes)
        self.position += 1

    # freehold.changes.Changes
    def is_current(self) -> bool:
        return self.seen == self.position

    async def catch_up(self) -> None:
        self.seen = self.position
        for listener in self.listeners:
            listener("1")

    def subscribe(self, topic: Topic, listener: Listener) -> None:
        assert topic == "registry"
        self.listeners.append(listener)


def registry_on(store: Store, signer: object = SIGNER) -> Registry:
    published = PublishedRegistryCache(store, store)
    return Registry(store, published, signer, lambda: datetime(2026, 1, 2, tzinfo=UTC))  # type: ignore[arg-type]


def history(count: int) -> list[Migration]:
    return [
        Migration(version=version, name=f"add_t{version}", sql=f"CREATE TABLE t{version} (x);\n")
        for version in range(1, count + 1)
    ]


async def test_what_is_published_is_signed_and_chained() -> None:
    registry = registry_on(Store())
    report = await registry.publish(history(3))
    assert (report.published, report.already, report.version) == ((1, 2, 3), 0, 3)
    rows = (await registry.snapshot()).rows
    assert [row.chain for row in rows] == chains(history(3))
    assert all(is_signed(row.version, row.chain, row.signature, SIGNER.public_key) for row in rows)
    assert rows[0].created_at == "2026-01-02T00:00:00.000Z"
    assert [key.key_id for key in (await registry.snapshot()).keys] == [SIGNER.key_id]
    assert await registry.migrations() == tuple(history(3))


async def test_publishing_again_publishes_only_what_is_new() -> None:
    registry = registry_on(Store())
    await registry.publish(history(2))
    assert (await registry.publish(history(2))).published == ()
    report = await registry.publish(history(4))
    assert (report.published, report.already, report.version) == ((3, 4), 2, 4)


async def test_a_plan_publishes_nothing() -> None:
    store = Store()
    registry = registry_on(store)
    assert (await registry.plan(history(2))).published == (1, 2)
    assert store.rows == []


async def test_a_published_migration_with_other_sql_is_refused_and_nothing_is_published() -> None:
    store = Store()
    registry = registry_on(store)
    await registry.publish(history(2))
    edited = history(3)
    edited[1] = Migration(version=2, name="add_t2", sql="CREATE TABLE t2 (x, y);\n")
    for act in (registry.publish, registry.plan):
        with pytest.raises(PublishedMigrationChanged, match="migration 2 was already published with other SQL"):
            await act(edited)
    assert len(store.rows) == 2


async def test_files_behind_the_registry_are_reported() -> None:
    registry = registry_on(Store())
    await registry.publish(history(3))
    report = await registry.publish(history(1))
    assert (report.published, report.already, report.version, report.without_file) == ((), 1, 3, (2, 3))


@pytest.mark.parametrize(
    "migrations",
    [
        history(3)[1:],
        [history(1)[0], history(3)[2]],
        [*history(1), Migration(version=2, name="ends_early", sql="COMMIT;")],
        [*history(1), Migration(version=2, name="nothing", sql="-- why\n")],
        [Migration(version=1, name="Bad Name", sql="SELECT 1;")],
    ],
    ids=["starts late", "gap", "commit", "empty", "name"],
)
async def test_what_is_not_sound_is_not_published(migrations: list[Migration]) -> None:
    store = Store()
    with pytest.raises(BadRegistry):
        await registry_on(store).publish(migrations)
    assert store.rows == []


async def test_two_publishers_at_once_publish_once() -> None:
    store = Store()
    one, two = registry_on(store), registry_on(store)
    reports = await asyncio.gather(one.publish(history(3)), two.publish(history(3)))
    assert sorted((report.published, report.already) for report in reports) == [((), 3), ((1, 2, 3), 0)]
    assert [row.version for row in store.rows] == [1, 2, 3]


async def test_of_two_publishers_with_different_sql_one_is_refused() -> None:
    store = Store()
    other = [Migration(version=1, name="other", sql="CREATE TABLE other (x);")]
    outcomes = await asyncio.gather(
        registry_on(store).publish(history(1)), registry_on(store).publish(other), return_exceptions=True
    )
    assert sum(isinstance(outcome, PublishedMigrationChanged) for outcome in outcomes) == 1
    assert len(store.rows) == 1


async def test_the_registry_is_read_once_while_nothing_changes() -> None:
    store = Store()
    registry = registry_on(store)
    await registry.publish(history(2))
    await registry.snapshot()
    loads = store.loads
    snapshots = await asyncio.gather(*(registry.snapshot() for _ in range(20)))
    assert store.loads == loads
    assert len(set(map(id, snapshots))) == 1


async def test_what_was_read_before_a_change_was_told_is_not_kept() -> None:
    store = Store()
    registry = registry_on(store)
    await registry.publish(history(1))
    store.gate = asyncio.Event()
    store.has_read.clear()
    slow = asyncio.create_task(registry.snapshot())
    await store.has_read.wait()  # version 1, and it waits
    gate, store.gate = store.gate, None
    await registry_on(store).publish(history(2))
    await store.catch_up()
    gate.set()
    assert (await slow).version == 1  # it asked before the change
    assert (await registry.snapshot()).version == 2


async def test_a_new_key_signs_beside_the_old_one() -> None:
    store = Store()
    await registry_on(store).publish(history(1))
    registry = registry_on(store, OTHER_SIGNER)
    await registry.publish(history(2))
    assert [row.key_id for row in (await registry.snapshot()).rows] == [SIGNER.key_id, OTHER_SIGNER.key_id]
    assert {key.key_id for key in (await registry.snapshot()).keys} == {SIGNER.key_id, OTHER_SIGNER.key_id}


def _row(version: int, signer: object) -> PublishedMigration:
    migrations = history(version)
    link = chains(migrations)[-1]
    return PublishedMigration(
        version=version, name=f"add_t{version}", description="d", sql=migrations[-1].sql,
        checksum=migrations[-1].checksum, chain=link, key_id=signer.key_id,  # type: ignore[attr-defined]
        signature=signer.sign(signed_text(version, link)), created_at="2026-01-02T00:00:00.000Z",  # type: ignore[attr-defined]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("version", "changes", "reason"),
    [
        (2, {"sql": "CREATE TABLE t2 (y);\n"}, "migration 2 .*checksum"),
        (2, {"sql": "DROP TABLE t1;", "checksum": Migration(version=2, name="a", sql="DROP TABLE t1;").checksum},
         "migration 2 .*chain"),
        (3, {"signature": "AAAA"}, "migration 3 .*signature"),
        (3, {"chain": "00" * 32}, "migration 3 .*chain"),
        (1, {"key_id": "0000000000000000"}, "migration 1 .*key"),
        (1, {"version": 2}, "migration 1 is missing"),
    ],
)  # fmt: skip
async def test_a_tampered_row_is_never_served(version: int, changes: dict[str, object], reason: str) -> None:
    store = Store()
    registry = registry_on(store)
    await registry.publish(history(3))
    store.edit(version, **changes)
    for ask in (registry.snapshot(), registry.migrations(), registry.verify(0)):
        with pytest.raises(RegistryTampered, match=reason):
            await ask
    with pytest.raises(RegistryTampered):
        await registry.publish(history(4))
    assert len(store.rows) == 3


async def test_a_history_rewritten_and_signed_with_a_key_under_another_name_is_never_served() -> None:
    store = Store()
    registry = registry_on(store)
    await registry.publish(history(1))
    store.keys = [msgspec.structs.replace(store.keys[0], public_key=OTHER_SIGNER.public_key)]
    store.edit(1, signature=OTHER_SIGNER.sign(signed_text(1, store.rows[0].chain)))
    with pytest.raises(RegistryTampered, match="does not fit its name"):
        await registry.snapshot()


async def test_a_repaired_row_is_served_again() -> None:
    store = Store()
    registry = registry_on(store)
    await registry.publish(history(1))
    good = store.rows[0]
    store.edit(1, sql="DROP TABLE t1;")
    with pytest.raises(RegistryTampered):
        await registry.snapshot()
    loads = store.loads
    with pytest.raises(RegistryTampered):
        await registry.snapshot()
    assert store.loads == loads  # the verdict is kept: an attack does not make every request expensive
    store.edit(1, sql=good.sql)
    assert (await registry.snapshot()).version == 1


async def test_an_outage_is_told_and_forgotten() -> None:
    store = Store()
    registry = registry_on(store)
    store.is_down = True
    with pytest.raises(CentralUnavailable):
        await registry.snapshot()
    store.is_down = False
    assert (await registry.snapshot()).version == 0


async def test_verify_names_what_is_required() -> None:
    registry = registry_on(Store())
    await registry.publish(history(3))
    assert [row.version for row in (await registry.verify(1)).required] == [2, 3]
    assert (await registry.verify(3)).required == ()
    with pytest.raises(ClientAhead, match="at version 4, but the newest published is 3"):
        await registry.verify(4)


async def test_register_takes_the_next_version_and_names_it() -> None:
    registry = registry_on(Store())
    await registry.publish(history(1))
    row = await registry.register("CREATE TABLE roots (x);\r\n", "  Add word roots\n(v2) ")
    assert (row.version, row.name, row.description) == (2, "add_word_roots_v2", "Add word roots (v2)")
    assert row.sql == "CREATE TABLE roots (x);\n"
    assert (await registry.snapshot()).head == row


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("Café à Paris", "cafe_a_paris"),
        ("إضافة الجذور", "migration_1"),
        ("2nd try", "migration_1_2nd_try"),
        ("x" * 200, "x" * 60),
        ("-- drop; table", "drop_table"),
    ],
)
async def test_any_description_gives_a_sound_name(description: str, name: str) -> None:
    assert (await registry_on(Store()).register("CREATE TABLE a (x);", description)).name == name


async def test_the_same_sql_again_is_told_with_its_version() -> None:
    registry = registry_on(Store())
    await registry.register("CREATE TABLE a (x);\n", "add a")
    with pytest.raises(AlreadyPublished, match="already published as version 1"):
        await registry.register("CREATE TABLE a (x);\r\n", "add a, sent again")


async def test_the_same_request_twice_at_once_publishes_once() -> None:
    store = Store()
    outcomes = await asyncio.gather(
        *(registry_on(store).register("CREATE TABLE a (x);", "add a") for _ in range(4)), return_exceptions=True
    )
    assert len(store.rows) == 1
    assert sum(isinstance(outcome, AlreadyPublished) for outcome in outcomes) == 3


async def test_of_two_different_requests_at_once_one_has_to_look_again() -> None:
    store = Store()
    outcomes = await asyncio.gather(
        registry_on(store).register("CREATE TABLE a (x);", "add a"),
        registry_on(store).register("CREATE TABLE b (x);", "add b"),
        return_exceptions=True,
    )
    assert len(store.rows) == 1
    assert sum(isinstance(outcome, RegistryMoved) for outcome in outcomes) == 1


@pytest.mark.parametrize(
    ("sql", "description"),
    [
        ("", "nothing"),
        ("BEGIN; CREATE TABLE a (x);", "begins"),
        ("CREATE TABLE a (x DEFAULT 'open);", "open"),
        ("CREATE TABLE a (x);" + "-" * 1024 * 1024, "huge"),
        ("CREATE TABLE a (x);", "   "),
        ("SELECT '\ud800';", "surrogate"),
    ],
)
async def test_bad_input_is_not_registered(sql: str, description: str) -> None:
    store = Store()
    with pytest.raises(BadRegistry):
        await registry_on(store).register(sql, description)
    assert store.rows == []


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("this is not SQL", 'near "this": syntax error'),
        ("CREATE TABLE t1 (x);", "table t1 already exists"),
        ("CREATE TABLE fine (x); INSERT INTO nowhere VALUES (1);", "statement 2, line 1: no such table"),
        ("CREATE TABLE u (x UNIQUE); INSERT INTO u VALUES (1), (1);", "UNIQUE constraint failed"),
    ],
)
async def test_what_no_database_would_take_is_never_published(sql: str, reason: str) -> None:
    store = Store()
    registry = registry_on(store)
    await registry.publish(history(2))
    with pytest.raises(BadRegistry, match=reason):
        await registry.register(sql, "cannot work")
    with pytest.raises(BadRegistry, match=reason):
        await registry.publish([*history(2), Migration(version=3, name="cannot_work", sql=sql)])
    assert len(store.rows) == 2
    assert (await registry.register("CREATE TABLE works (x);", "works")).version == 3
