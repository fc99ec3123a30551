"""Signed states of the registry: what clients refuse, how keys are replaced, and signing where the key is."""

import asyncio
import dataclasses
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.client import FileKeyStore, FreeholdClient, MemoryKeyStore
from freehold.errors import AppTooOld
from freehold.keys import load_or_create_key
from freehold.migrate.release_text import FIRST_COUNTER
from freehold.migrate.signature import RegistryExpired, RegistryReplayed, RegistryTampered
from freehold.migrate.types import Migration, chains
from freehold.registry.service import Registry
from freehold.registry.signed import Ed25519Signer, SignedRelease, expiry_s, sign_release, signer_of
from freehold.registry.types import BadRegistry, BadRelease, KeyRetired, SignedElsewhere
from tests.integration.registry_parts import OTHER_SIGNER, SIGNER, by_hand, history, open_registry
from tests.integration.test_client_pull import SERVICE, Between, app_of
from tests.integration.test_registry_cli import Freehold, freehold, objects  # noqa: F401 - a fixture
from tests.support.central_place import CentralPlace

NOW_MS = int(time.time() * 1000)
NOW = FIRST_COUNTER + NOW_MS  # as a counter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "central.db"


def client(registry: Registry, **options: Any) -> FreeholdClient:
    tampering = {"page": options.pop("tamper")} if "tamper" in options else {}
    options.setdefault("key_store", MemoryKeyStore())
    return FreeholdClient(SERVICE, httpx.AsyncClient(transport=Between(app_of(registry), **tampering)), **options)


def http(registry: Registry) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app_of(registry)), base_url=SERVICE)  # type: ignore[arg-type]


async def page(registry: Registry, **headers: str) -> dict[str, Any]:
    async with http(registry) as calls:
        found: dict[str, Any] = (await calls.get("/migrations", headers=headers)).raise_for_status().json()
        return found


# Old states and expired ones ---------------------------------------------------------------------


async def test_an_old_state_that_is_played_again_is_refused(path: Path, tmp_path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(2))
        old = await page(registry)
        await registry.publish(history(3))
        store = FileKeyStore(tmp_path / "known.json")
        await client(registry, key_store=store).pull()
        # It is genuine in every part, and a new device cannot know better; one that has seen more can.
        assert (await client(registry, tamper=lambda _: old).pull()).version == 2
        with pytest.raises(RegistryReplayed, match="an old one is being replayed"):
            await client(registry, tamper=lambda _: old, key_store=store).pull()
        with pytest.raises(RegistryTampered):
            await client(registry, tamper=lambda _: {**old, "counter": old["counter"] + 10**6}, key_store=store).pull()
        assert (await client(registry, key_store=store).pull()).version == 3


async def test_a_registry_that_became_empty_is_refused_by_who_has_seen_more(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(1))
        store = MemoryKeyStore()
        await client(registry, key_store=store).pull()
        empty = {"version": 0, "chain": "", "counter": 0, "expires_at_s": 0, "signature": "", "key_id": ""}
        with pytest.raises(RegistryTampered):
            await client(registry, tamper=lambda _: {**empty, "migrations": []}, key_store=store).pull()


async def test_an_expired_state_is_refused_until_it_is_signed_again(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(1))
        later = time.time() + 31 * 86_400
        with pytest.raises(RegistryExpired, match="signed too long ago"):
            await client(registry, now=lambda: later).pull()
        assert not await registry.renew()  # far from half its life

        moved = with_changes(registry, now=lambda: datetime.now(UTC) + timedelta(days=16))
        assert await moved.renew()
        assert not await moved.renew()
        assert (await client(registry, now=lambda: later).pull()).version == 1


def with_changes(registry: Registry, **changes: Any) -> Registry:
    return dataclasses.replace(registry, **changes)


async def test_two_that_renew_at_once_leave_one_newest_state(path: Path) -> None:
    async with open_registry(path) as one, open_registry(path) as two:
        await one.publish(history(2))
        at = datetime.now(UTC) + timedelta(days=20)
        moved = [with_changes(each, now=lambda: at) for each in (one, two)]
        done = await asyncio.gather(*(each.renew() for each in moved))
        assert sum(done) == 1
        assert (await page(one))["counter"] == FIRST_COUNTER + int(at.timestamp() * 1000)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE registry_manifest SET expires_at_s = expires_at_s + 1",
        "UPDATE registry_manifest SET counter = counter + 1",
        "UPDATE registry_manifest SET signature = 'AAAA'",
        "DELETE FROM published_migration WHERE version = 3",
        "UPDATE registry_manifest SET version = 2",
    ],
)
async def test_a_state_tampered_with_in_the_central_database_is_never_served(path: Path, tampering: str) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(3))
        by_hand(path, tampering)
        with pytest.raises(RegistryTampered):
            await registry.snapshot()


# Keys --------------------------------------------------------------------------------------------


async def test_clients_follow_a_rotated_key_and_forget_the_old_one(path: Path) -> None:
    store = MemoryKeyStore()
    third = signer_of(Ed25519PrivateKey.generate())
    async with open_registry(path) as registry:
        await registry.publish(history(2))
        await client(registry, key_store=store).pull()
        await registry.rotate(OTHER_SIGNER)
        await registry.rotate(OTHER_SIGNER)  # again, as after a crash
        with pytest.raises(KeyRetired, match="start this process again"):
            await registry.publish(history(3))
    async with open_registry(path, OTHER_SIGNER) as registry:
        await registry.publish(history(3))
        await registry.rotate(third)
    async with open_registry(path, third) as registry:
        # Two rotations while the device was away.
        assert (await client(registry, key_store=store).pull()).version == 3
        assert await store.load(SERVICE) == {third.key_id: third.public_key}
        given = {SIGNER.key_id: SIGNER.public_key}
        assert (await client(registry, trusted_keys=given).pull()).version == 3

        stolen = await page(registry)
        forge(stolen, SIGNER)
        with pytest.raises(RegistryTampered, match="is not trusted"):
            await client(registry, tamper=lambda _: stolen, key_store=store).pull()


def forge(state: dict[str, Any], signer: Ed25519Signer) -> None:
    """What the holder of an old key could still sign."""
    migrations = history(state["version"])
    release = sign_release(migrations, signer, counter=state["counter"] + 1, expires_at_s=expiry_s(NOW_MS, 30))
    state.update(
        counter=release.manifest.counter,
        expires_at_s=release.manifest.expires_at_s,
        signature=release.manifest.signature,
        release={"text": release.manifest.text, "signature": release.manifest.text_signature},
        key_id=signer.key_id,
    )


async def test_a_key_that_nobody_trusted_speaks_for_is_refused(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(1))
        stranger = signer_of(Ed25519PrivateKey.generate())
        forged = await page(registry)
        forge(forged, stranger)
        word = {"by_key_id": SIGNER.key_id, "signature": stranger.sign(b"anything")}
        announced = [
            {"key_id": each.key_id, "algorithm": "ed25519", "public_key": each.public_key, "endorsed": word}
            for each in (SIGNER, stranger)
        ]
        store = MemoryKeyStore()
        await client(registry, key_store=store).pull()
        between = Between(app_of(registry), page=lambda _: forged, keys=lambda _: announced)
        with pytest.raises(RegistryTampered, match="is not trusted"):
            await FreeholdClient(SERVICE, httpx.AsyncClient(transport=between), key_store=store).pull()


async def test_words_about_keys_that_were_tampered_with_stop_the_registry(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(1))
        await registry.rotate(OTHER_SIGNER)
        by_hand(path, "UPDATE registry_key_statement SET signature = 'AAAA' WHERE kind = 'retired'")
        with pytest.raises(RegistryTampered, match="what is said of"):
            await registry.snapshot()


# Signed elsewhere --------------------------------------------------------------------------------


def release(count: int, signer: Ed25519Signer = OTHER_SIGNER, counter: int = NOW, days: float = 30) -> SignedRelease:
    return sign_release(history(count), signer, counter=counter, expires_at_s=expiry_s(NOW_MS, days))


async def test_what_was_signed_elsewhere_is_published_without_a_key(path: Path) -> None:
    async with open_registry(path) as opened:
        registry = with_changes(opened, signer=None)
        with pytest.raises(SignedElsewhere):
            await registry.publish(history(1))
        with pytest.raises(SignedElsewhere):
            await registry.register("CREATE TABLE a (x);", "add a")
        report = await registry.publish(history(2), release(2))
        assert report.published == (1, 2)
        assert (await client(registry).pull()).key_id == OTHER_SIGNER.key_id
        # With nothing new it only renews the state.
        renewed = await registry.publish(history(2), release(2, counter=NOW + 1))
        assert (renewed.published, (await page(registry))["counter"]) == ((), NOW + 1)
        assert not await registry.renew()


def altered(made: SignedRelease, **changes: Any) -> SignedRelease:
    return msgspec.structs.replace(made, manifest=msgspec.structs.replace(made.manifest, **changes))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (release(3, SIGNER), "is not known here"),
        (release(2), "signed for other files"),
        (release(3, counter=NOW - 10**9), "is not above"),
        (release(3, counter=NOW + 9, days=-1), "has expired"),
        (release(3, counter=NOW + 2 * 86_400_000), "a clock that is more than a day ahead"),
        (release(1, counter=NOW + 9), "sign a folder that has all of them"),
        (altered(release(3, counter=NOW + 9), expires_at_s=2**40), "signatures are not valid"),
        (altered(release(3), counter=NOW + 10), "signatures are not valid"),
        (msgspec.structs.replace(release(3, counter=NOW + 9), rows=release(3, SIGNER).rows), "not valid"),
        (msgspec.structs.replace(release(3, counter=NOW + 9), rows=release(2).rows), "not valid"),
        (msgspec.structs.replace(release(3, counter=NOW + 9), public_key="AAAA"), "not known here"),
    ],
)
async def test_a_release_that_does_not_fit_is_refused(path: Path, made: SignedRelease, reason: str) -> None:
    async with open_registry(path) as opened:
        registry = with_changes(opened, signer=None)
        await registry.publish(history(2), release(2))
        files = history(1 if "all of them" in reason else 3)
        for attempt in (registry.plan, registry.publish):
            with pytest.raises(BadRelease, match=reason):
                await attempt(files, made)
        snapshot = await registry.snapshot()
        assert (snapshot.version, snapshot.manifest) == (2, release(2).manifest)


@pytest.mark.parametrize(
    "made",
    [release(2), release(2, counter=NOW - 1), release(1, counter=NOW - 1), release(2, days=29)],
    ids=["the same", "signed earlier", "of an older commit", "the same moment, a shorter life"],
)
async def test_a_release_that_came_before_changes_nothing(path: Path, made: SignedRelease) -> None:
    async with open_registry(path) as opened:
        registry = with_changes(opened, signer=None)
        assert (await registry.publish(history(2), release(2))).renewed
        for attempt in (registry.plan, registry.publish):
            report = await attempt(history(made.manifest.version), made)
            assert (report.published, report.renewed) == ((), False)
        assert (await registry.snapshot()).manifest == release(2).manifest
        # One that would last longer is not as good as published: whoever sent it must hear of it.
        with pytest.raises(BadRelease, match="is not above"):
            await registry.publish(history(2), release(2, counter=NOW - 1, days=60))


async def test_the_same_release_at_once_is_published_once(place: CentralPlace) -> None:
    async with open_registry(place) as one, open_registry(place) as two:
        registries = [with_changes(each, signer=None) for each in (one, two, one, two)]
        reports = await asyncio.gather(*(each.publish(history(2), release(2)) for each in registries))
        assert sorted(report.published for report in reports) == [(), (), (), (1, 2)]
        assert [report.renewed for report in reports].count(True) == 1


async def test_two_releases_at_once_leave_the_later_one(place: CentralPlace) -> None:
    async with open_registry(place) as one, open_registry(place) as two:
        made = [release(2, counter=NOW + at) for at in range(6)]
        registries = [with_changes(each, signer=None) for each in (one, two) * 3]
        await asyncio.gather(*(r.publish(history(2), m) for r, m in zip(registries, made, strict=True)))
        assert (await one.snapshot()).manifest == made[-1].manifest


async def test_of_two_first_keys_at_once_one_is_taken(place: CentralPlace) -> None:
    async with open_registry(place) as one, open_registry(place) as two:
        signers = (SIGNER, OTHER_SIGNER)
        outcomes = await asyncio.gather(
            *(
                with_changes(each, signer=None).publish(history(2), release(2, signer))
                for each, signer in zip((one, two), signers, strict=True)
            ),
            return_exceptions=True,
        )
        [refused] = [each for each in outcomes if isinstance(each, BaseException)]
        assert isinstance(refused, BadRelease)
        assert "is not known here" in str(refused)
        taken = signers[outcomes.index(refused) - 1]
        assert [key.key_id for key in (await two.snapshot()).keys] == [taken.key_id]


async def test_a_retired_key_publishes_no_more(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(2))
        before = release(2, SIGNER, counter=NOW - 1, days=1)
        assert not (await registry.publish(history(2), before)).renewed
        await registry.rotate(OTHER_SIGNER)
        for made in (before, release(3, SIGNER, counter=NOW + 10**7)):
            with pytest.raises(BadRelease, match="was retired"):
                await registry.publish(history(made.manifest.version), made)
        assert (await registry.publish(history(3), release(3, counter=NOW + 10**7))).published == (3,)


async def test_a_plan_says_what_would_be_refused(path: Path) -> None:
    broken = [*history(2), Migration(version=3, name="broken", sql="CREATE INDEX i ON nothing (x);\n")]
    async with open_registry(path) as registry:
        await registry.publish(history(2))
        with pytest.raises(BadRegistry, match="tried out"):
            await registry.plan(broken)
        odd = Migration(version=3, name="odd", sql="SELECT '\ud800';\n")
        for attempt in (registry.plan, registry.publish):
            with pytest.raises(BadRegistry, match="Unicode"):
                await attempt([*history(2), odd])


async def test_an_added_key_may_publish_and_clients_follow_it(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(2))
        store = MemoryKeyStore()
        await client(registry, key_store=store).pull()
        with pytest.raises(BadRelease):
            await registry.publish(history(3), release(3, counter=NOW + 10**7))
        await registry.add_key(OTHER_SIGNER.public_key)
        await registry.publish(history(3), release(3, counter=NOW + 10**7))
        assert (await client(registry, key_store=store).pull()).key_id == OTHER_SIGNER.key_id
        for wrong in ("", "AAAA", "é", OTHER_SIGNER.public_key + "=="):
            with pytest.raises(BadRegistry):
                await registry.add_key(wrong)


def test_the_commands_sign_elsewhere_and_rotate(freehold: Freehold, tmp_path: Path) -> None:  # noqa: F811
    key_file = tmp_path / "ci.pem"
    public_key = signer_of(load_or_create_key(key_file)).public_key
    signed = freehold.run("sign", "--key-file", str(key_file))
    assert signed.exit_code == 0
    (tmp_path / "release.json").write_text(signed.stdout)
    elsewhere = {"REGISTRY_SIGNING": "elsewhere"}
    assert freehold.run("publish", **elsewhere).exit_code == 1
    done = freehold.run("publish", "--signed", str(tmp_path / "release.json"), "--json", **elsewhere)
    assert json.loads(done.stdout)["published"] == [1, 2], done.stderr
    again = freehold.run("publish", "--signed", str(tmp_path / "release.json"), **elsewhere)
    assert (again.exit_code, "nothing to do" in again.stderr) == (0, True)
    [key] = objects(freehold.run("keys", "list", "--json", **elsewhere))
    assert (key["public_key"], key["state"]) == (public_key, "signs")
    assert freehold.run("keys", "rotate", **elsewhere).exit_code == 1
    (tmp_path / "release.json").write_text("{}")
    assert freehold.run("publish", "--signed", str(tmp_path / "release.json"), **elsewhere).exit_code == 1

    freehold.environ["DATA_DIR"] = str(tmp_path / "other")
    assert freehold.run("publish").exit_code == 0
    [before] = objects(freehold.run("keys", "list", "--json"))
    assert freehold.run("keys", "rotate").exit_code == 0
    states = {key["key_id"]: key["state"] for key in objects(freehold.run("keys", "list", "--json"))}
    assert states.pop(before["key_id"]) == "retired"
    assert list(states.values()) == ["signs"]
    freehold.write(_0003_create_c="CREATE TABLE c (x);\n")
    assert freehold.run("publish").exit_code == 0
    assert freehold.run("keys", "add", public_key).exit_code == 0
    assert len(freehold.run("keys", "list").stdout.splitlines()) == 3
    files = [file.name for file in (tmp_path / "other/keys").glob("registry*")]
    assert sorted(name.split("-")[0] for name in files) == ["registry.pem", "registry.retired"]


# Older apps, caching, compression ----------------------------------------------------------------


def with_contract() -> list[Migration]:
    """Version 3 needs app 2.0, version 5 app 3."""
    scripts = [
        "CREATE TABLE t (a, b, c);\n",
        "ALTER TABLE t ADD COLUMN d;\n",
        "-- phase: contract\n-- min_app: 2.0\nALTER TABLE t DROP COLUMN a;\n",
        "ALTER TABLE t ADD COLUMN e;\n",
        "-- phase: contract\n-- min_app: 3\nALTER TABLE t DROP COLUMN b;\n",
    ]
    return [Migration(version=at, name=f"step_{at}", sql=sql) for at, sql in enumerate(scripts, start=1)]


@pytest.mark.parametrize(
    ("app", "version", "needs"),
    [
        ("1.9.9", 2, "2.0"),
        ("2", 4, "3"),
        ("2.0.0", 4, "3"),
        ("2.10", 4, "3"),
        ("3.0", 5, ""),
        (None, 5, ""),
        ("new", 5, ""),
    ],
)
async def test_an_older_app_gets_the_newest_schema_that_it_can_work_with(
    path: Path, app: str | None, version: int, needs: str
) -> None:
    async with open_registry(path) as registry:
        await registry.publish(with_contract())
        pulled = await client(registry, app_version=app).pull()
        assert (pulled.version, pulled.newest, pulled.needs_app) == (version, 5, needs)
        assert pulled.chain == chains(with_contract())[version - 1]
        assert len(pulled.migrations) == version


async def test_an_app_too_old_for_its_database_is_told_to_update(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(with_contract())
        links = chains(with_contract())
        assert (await client(registry, app_version="1.0").pull(2, chain=links[1])).migrations == ()
        with pytest.raises(AppTooOld, match=r"update the app to 2\.0 or newer"):
            await client(registry, app_version="1.0").pull(3, chain=links[2])
        async with http(registry) as calls:
            reply = await calls.get("/migrations?after=4", headers={"Freehold-App-Version": "1.0"})
        assert (reply.status_code, reply.json()["code"]) == (426, "app_too_old")


async def test_single_versions_may_be_kept_for_ever(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(2))
        async with http(registry) as calls:
            one = await calls.get("/migrations/2")
            assert one.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert one.json() == (await calls.get("/migrations?after=1")).json()["migrations"][0]
            await registry.publish(history(3))
            again = await calls.get("/migrations/2", headers={"If-None-Match": one.headers["etag"]})
            assert again.status_code == 304
            for nothing in ("0", "4", "-1", "x", "1.5", "99999999999999999999"):
                assert (await calls.get(f"/migrations/{nothing}")).status_code in {400, 404}, nothing


async def test_large_answers_are_compressed_for_who_takes_it(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(20))
        async with http(registry) as calls:
            plain = await fetch(calls, "identity")
            packed = await fetch(calls, "br, GZIP;q=0.5")
            assert "content-encoding" not in plain.headers
            assert packed.headers["content-encoding"] == "gzip"
            assert (plain.headers["etag"], plain.headers["vary"]) != (packed.headers["etag"], "")
            assert packed.headers["vary"] == "Accept-Encoding, Freehold-App-Version"
            assert int(packed.headers["content-length"]) < len(plain.content) / 3
            assert packed.content == plain.content
            assert "content-encoding" not in (await fetch(calls, "gzip;q=0")).headers
            for tag in (plain.headers["etag"], packed.headers["etag"]):
                same = await calls.get("/migrations", headers={"If-None-Match": tag})
                assert same.status_code == 304


async def fetch(calls: httpx.AsyncClient, encoding: str) -> httpx.Response:
    return await calls.get("/migrations", headers={"Accept-Encoding": encoding})
