"""Releases with further parts: served, checked, and refused when somebody on the wire strips, swaps or replays."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from testbed import warm
from testbed.servers import clean_environ

from freehold.client import FileKeyStore, FreeholdClient, MemoryKeyStore
from freehold.errors import NotFound
from freehold.keys import load_or_create_key
from freehold.migrate.release_text import FIRST_COUNTER, Part, ReleaseNotUnderstood, ReleaseText, encoded, parsed
from freehold.migrate.signature import (
    RegistryExpired,
    RegistryReplayed,
    RegistryTampered,
    is_text_signed,
    manifest_text,
)
from freehold.migrate.types import chain
from freehold.registry.service import Registry
from freehold.registry.signed import Ed25519Signer, SignedRelease, expiry_s, listed, sign_release, signer_of
from freehold.registry.types import BadRegistry, BadRelease, PartFile
from tests.integration.registry_parts import OTHER_SIGNER, SIGNER, by_hand, history, open_registry
from tests.integration.test_client_pull import SERVICE, TRUSTED, Between, Page, app_of
from tests.integration.test_registry_cli import Freehold, freehold  # noqa: F401 - a fixture
from tests.integration.test_registry_signed import http, with_changes
from tests.integration.test_registry_signed import page as page_of
from tests.support.central_place import CentralPlace

NOW_MS = int(time.time() * 1000)
APP = PartFile(name="app.toml", content=b"[app]\nname = 'words'\n")
LEDGER = PartFile(name="ledger", content=b"CREATE TABLE migrations (version)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "central.db"


class Wire(Between):
    """What is between, told to put this page in the place of what comes."""

    def __init__(self, registry: Registry, page: Callable[[Page], object] | None = None) -> None:
        super().__init__(app_of(registry), **({} if page is None else {"page": page}))
        self.part: bytes | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "/parts/" in request.url.path and self.part is not None:
            return httpx.Response(200, content=self.part)
        if "/parts/" in request.url.path:
            return await self.to_app.handle_async_request(request)
        return await super().handle_async_request(request)


def client(wire: Wire, **options: Any) -> FreeholdClient:
    options.setdefault("trusted_keys", TRUSTED)
    return FreeholdClient(SERVICE, httpx.AsyncClient(transport=wire), **options)


# What is served ---------------------------------------------------------------------------------


async def test_a_part_is_pulled_and_proved_to_be_the_releases(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(2), parts=[LEDGER, APP])
        pulled = await client(Wire(registry)).pull()
        assert pulled.parts == (APP.listed, LEDGER.listed)
        assert await client(Wire(registry)).part("app.toml") == APP.content
        with pytest.raises(NotFound, match=r"no part nothing\.toml"):
            await client(Wire(registry)).part("nothing.toml")
        # What others sign keeps them: a renewal, a migration, a rotation.
        await registry.renew(force=True)
        await registry.register("CREATE TABLE more (x);", "add more")
        await registry.rotate(OTHER_SIGNER)
        assert (await client(Wire(registry)).pull()).parts == pulled.parts
    async with open_registry(path, OTHER_SIGNER) as registry:
        assert (await registry.publish([*(await registry.migrations())])).renewed is False
        done = await registry.publish([*(await registry.migrations())], parts=[APP])
        assert (done.published, done.renewed) == ((), True)
        trusted = {OTHER_SIGNER.key_id: OTHER_SIGNER.public_key}
        assert (await client(Wire(registry), trusted_keys=trusted).pull()).parts == (APP.listed,)


async def test_a_part_has_an_etag_and_stays_for_ever(path: Path) -> None:
    large = PartFile(name="words.bin", content=bytes(range(256)) * 400)
    async with open_registry(path) as registry:
        await registry.publish(history(1), parts=[large])
        async with http(registry) as calls:
            url = f"/migrations/parts/{large.listed.sha256}"
            found = await calls.get(url)
            assert (found.content, found.headers["content-type"]) == (large.content, "application/octet-stream")
            assert "immutable" in found.headers["cache-control"]
            assert (await calls.get(url, headers={"If-None-Match": found.headers["etag"]})).status_code == 304
            for other in ("ab" * 32, "%2e%2e", "app.toml", large.listed.sha256.upper()):
                assert (await calls.get(f"/migrations/parts/{other}")).status_code == 404


async def test_an_older_app_verifies_what_it_knows_of_a_release_with_parts(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(3), parts=[msgspec.structs.replace(APP, must_understand=True)])
        page = await page_of(registry)
    # All that 97dc196's SDK looks at.
    text = b"freehold-registry-v2\n%d\n%s\n%d\n%d\n" % (
        page["version"],
        page["chain"].encode(),
        page["counter"],
        page["expires_at_s"],
    )
    assert is_text_signed(text, page["signature"], SIGNER.public_key)
    link = ""
    for each in page["migrations"]:
        assert hashlib.sha256(each["sql"].encode()).hexdigest() == each["checksum"]
        link = chain(link, each["checksum"])
        assert link == each["chain"]
    assert (link, page["key_id"]) == (page["chain"], SIGNER.key_id)
    assert page["counter"] > NOW_MS  # higher than any that it has seen, so no replay
    assert page["counter"] <= 2**53


# Understanding ----------------------------------------------------------------------------------


async def test_unknown_parts_are_passed_over_but_for_those_that_must_be_understood(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(2), parts=[APP, LEDGER])
        assert (await client(Wire(registry)).pull()).version == 2
        must = msgspec.structs.replace(LEDGER, must_understand=True)
        await registry.publish(history(2), parts=[APP, must])
        with pytest.raises(ReleaseNotUnderstood, match=r"does not understand \(ledger\): update the app") as told:
            await client(Wire(registry)).pull()
        assert told.value.code == "release_not_understood"
        with pytest.raises(ReleaseNotUnderstood):
            await client(Wire(registry), understands=["app.toml"]).part("app.toml")
        assert (await client(Wire(registry), understands=["ledger"]).pull()).parts[1] == must.listed


async def test_a_must_cannot_be_taken_out_nor_put_in_on_the_way(path: Path) -> None:
    must = msgspec.structs.replace(APP, must_understand=True)
    async with open_registry(path) as registry:
        await registry.publish(history(2), parts=[must])

        def as_may(page: Page) -> None:
            page["release"]["text"] = page["release"]["text"].replace("must ", "part ")

        with pytest.raises(RegistryTampered):
            await client(Wire(registry, as_may)).pull()


# Stripping, swapping ----------------------------------------------------------------------------


def no_text(page: Page) -> None:
    page["release"] = None


def no_such_field(page: Page) -> None:
    del page["release"]


def an_empty_text(page: Page) -> None:
    page["release"] = {"text": "", "signature": ""}


def the_older_text_as_the_new_one(page: Page) -> None:
    numbers = (page["version"], page["chain"], page["counter"], page["expires_at_s"])
    page["release"] = {"text": manifest_text(*numbers).decode(), "signature": page["signature"]}


def a_counter_of_the_older_form(page: Page) -> None:
    page["release"] = None
    page["counter"] -= FIRST_COUNTER


def a_part_less(page: Page) -> None:
    page["release"]["text"] = "".join(page["release"]["text"].splitlines(keepends=True)[:-1])


def another_hash(page: Page) -> None:
    page["release"]["text"] = page["release"]["text"].replace(APP.listed.sha256, LEDGER.listed.sha256)


def a_key_id_of_nobody(page: Page) -> None:
    page["key_id"] = ""


@pytest.mark.parametrize(
    "tamper",
    [
        no_text,
        no_such_field,
        an_empty_text,
        the_older_text_as_the_new_one,
        a_counter_of_the_older_form,
        a_part_less,
        another_hash,
        a_key_id_of_nobody,
    ],
)
async def test_the_new_form_cannot_be_taken_away_nor_changed_not_even_on_the_first_pull(
    path: Path, tamper: Callable[[Page], None]
) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(2), parts=[APP])
        for call in ("pull", "part"):
            for options in ({}, {"trusted_keys": None}):
                store = MemoryKeyStore()
                freehold = client(Wire(registry, tamper), key_store=store, **options)
                with pytest.raises(RegistryTampered):
                    await (freehold.pull() if call == "pull" else freehold.part("app.toml"))
                assert (await store.load(SERVICE), await store.counter(SERVICE)) == ({}, 0)


async def test_parts_of_one_release_are_nothing_in_another(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(2), parts=[LEDGER])
        before = await page_of(registry)
        await registry.publish(history(2), parts=[APP])

        def mixed(page: Page) -> None:
            page["release"] = before["release"]

        with pytest.raises(RegistryTampered, match="of another release"):
            await client(Wire(registry, mixed)).pull()
        # Nor with the numbers of before, for whoever has seen the later one.
        store = MemoryKeyStore()
        await client(Wire(registry), key_store=store).pull()
        for call in ("pull", "part"):
            freehold = client(Wire(registry, lambda _: before), key_store=store)
            with pytest.raises(RegistryReplayed):
                await (freehold.pull() if call == "pull" else freehold.part("ledger"))


async def test_bytes_that_the_release_does_not_name_are_refused(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(1), parts=[APP, LEDGER])
        wire = Wire(registry)
        for content in (b"", b"[app]\n", LEDGER.content, APP.content + b"\n"):
            wire.part = content
            with pytest.raises(RegistryTampered, match="does not have the hash"):
                await client(wire).part("app.toml")


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE registry_part SET content = x'00'",
        "DELETE FROM registry_part",
        "UPDATE registry_manifest SET text = replace(text, 'part ', 'must ')",
        "UPDATE registry_manifest SET text_signature = 'AAAA'",
        "UPDATE registry_manifest SET text = 'freehold-registry-v9' || char(10)",
    ],
)
async def test_parts_tampered_with_in_the_central_database_are_never_served(path: Path, tampering: str) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(2), parts=[APP])
        by_hand(path, tampering)
        with pytest.raises(RegistryTampered):
            await registry.snapshot()


# Going back -------------------------------------------------------------------------------------


async def test_an_earlier_release_comes_back_only_with_a_higher_counter(path: Path, tmp_path: Path) -> None:
    store = tmp_path / "known.json"
    async with open_registry(path) as registry:
        await registry.publish(history(2), parts=[LEDGER])
        first = await page_of(registry)
        await registry.publish(history(2), parts=[APP])
        seen = await client(Wire(registry), key_store=FileKeyStore(store)).pull()
        # Another process of the app, later: what it knows is in the file.
        with pytest.raises(RegistryReplayed):
            await client(Wire(registry, lambda _: first), key_store=FileKeyStore(store)).pull()
        await registry.publish(history(2), parts=[LEDGER])
        again = await client(Wire(registry), key_store=FileKeyStore(store)).pull()
    assert (again.parts, again.counter > seen.counter) == ((LEDGER.listed,), True)
    assert again.counter > first["counter"]


async def test_a_registry_restored_from_a_backup_is_taken_once_it_is_signed_again(path: Path, tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path / "known.json")
    backup = tmp_path / "backup.db"
    async with open_registry(path) as registry:
        await registry.publish(history(2), parts=[LEDGER])
    backup.write_bytes(path.read_bytes())
    async with open_registry(path) as registry:
        await registry.publish(history(3), parts=[APP])
        await client(Wire(registry), key_store=store).pull(2, chain=(await page_of(registry))["migrations"][1]["chain"])
    async with open_registry(backup) as registry:
        with pytest.raises(RegistryReplayed):
            await client(Wire(registry), key_store=store).pull()
        assert not await registry.renew()
        assert await registry.renew(force=True)
        assert (await client(Wire(registry), key_store=store).pull()).version == 2


async def test_a_release_that_was_refused_counts_as_seen(path: Path) -> None:
    """Else somebody could play the one before it, which has neither the part nor an end so soon."""
    must = msgspec.structs.replace(APP, must_understand=True)
    async with open_registry(path) as registry:
        await registry.publish(history(2))
        before = await page_of(registry)
        await registry.publish(history(2), parts=[must])
        store = MemoryKeyStore()
        with pytest.raises(ReleaseNotUnderstood):
            await client(Wire(registry), key_store=store).pull()
        with pytest.raises(RegistryReplayed):
            await client(Wire(registry, lambda _: before), key_store=store).pull()
        store, later = MemoryKeyStore(), time.time() + 31 * 86_400
        with pytest.raises(RegistryExpired):
            await client(Wire(registry), key_store=store, now=lambda: later).pull()
        with pytest.raises(RegistryReplayed):
            await client(Wire(registry, lambda _: before), key_store=store).pull()


async def test_what_is_not_proved_sets_no_counter(path: Path) -> None:
    """Else anybody on the wire could keep a device from ever taking a release again."""
    empty = {"version": 0, "chain": "", "counter": 2**53, "expires_at_s": 0, "signature": "", "key_id": ""}
    stranger = signer_of(Ed25519PrivateKey.generate())
    async with open_registry(path) as registry:
        await registry.publish(history(2))
        page = await page_of(registry)
        text = encoded(ReleaseText(version=2, chain=page["chain"], counter=2**53, expires_at_s=1, parts=()))
        expired = {
            **page,
            **{"counter": 2**53, "expires_at_s": 1, "key_id": stranger.key_id},
            "release": {"text": text, "signature": stranger.sign(text.encode())},
        }
        announced = [{"key_id": stranger.key_id, "algorithm": "ed25519", "public_key": stranger.public_key}]
        later = {**page, "counter": 2**53, "release": {"text": "freehold-registry-v4\n", "signature": ""}}
        later["release"]["signature"] = SIGNER.sign(b"freehold-registry-v4\n")
        for played, options in (({**empty, "migrations": []}, {}), (expired, {"trusted_keys": None}), (later, {})):
            store = MemoryKeyStore()
            wire = Wire(registry, lambda _, played=played: played)  # type: ignore[misc]
            wire.tampering["keys"] = lambda _: announced
            with contextlib.suppress(RegistryTampered, ReleaseNotUnderstood):
                await client(wire, key_store=store, **options).pull()
            assert await store.counter(SERVICE) == 0
            assert (await client(Wire(registry), key_store=store, **options).pull()).version == 2


async def test_two_registries_do_not_stand_in_for_each_other(tmp_path: Path) -> None:
    """Counters are kept for each service; a key is for one registry."""
    store = FileKeyStore(tmp_path / "known.json")
    async with open_registry(tmp_path / "a.db") as one, open_registry(tmp_path / "b.db", OTHER_SIGNER) as two:
        await two.publish(history(2), parts=[APP])
        await one.publish(history(2), parts=[LEDGER])
        for at, registry in (("http://one.test", one), ("http://two.test", two)):
            calls = httpx.AsyncClient(transport=Wire(registry))
            await FreeholdClient(at, calls, key_store=store).pull()
        assert await store.counter("http://one.test") > await store.counter("http://two.test")
        other = httpx.AsyncClient(transport=Wire(two))
        with pytest.raises(RegistryTampered, match="which is not trusted"):
            await FreeholdClient("http://one.test", other, key_store=store).pull()


# Publishing -------------------------------------------------------------------------------------


def release(*parts: PartFile, count: int = 2, signer: Ed25519Signer = OTHER_SIGNER, ahead: int = 0) -> SignedRelease:
    return sign_release(
        history(count),
        signer,
        counter=FIRST_COUNTER + NOW_MS + ahead,
        expires_at_s=expiry_s(NOW_MS, 30),
        parts=listed(parts),
    )


async def test_parts_signed_elsewhere_come_with_the_release_and_go_with_it(place: CentralPlace) -> None:
    async with open_registry(place) as opened:
        registry = with_changes(opened, signer=None)
        assert (await registry.publish(history(2), release(APP), parts=[APP])).published == (1, 2)
        for wrong in ([], [LEDGER], [APP, LEDGER], [msgspec.structs.replace(APP, must_understand=True)]):
            with pytest.raises(BadRelease, match="other parts than these"):
                await registry.publish(history(2), release(APP, ahead=1), parts=wrong)
        # An earlier release again changes nothing, a later one that has no parts takes them out.
        assert not (await registry.publish(history(2), release(LEDGER, ahead=-1), parts=[LEDGER])).renewed
        assert (await registry.snapshot()).parts == (APP,)
        assert (await registry.publish(history(2), release(ahead=2), parts=[])).renewed
        assert (await registry.snapshot()).parts == ()


async def test_a_release_of_the_older_form_is_published_until_there_is_a_newer_one(path: Path) -> None:
    old = sign_release(history(2), OTHER_SIGNER, counter=NOW_MS, expires_at_s=expiry_s(NOW_MS, 30))
    later = sign_release(history(2), OTHER_SIGNER, counter=NOW_MS + 9, expires_at_s=expiry_s(NOW_MS, 40))
    assert (old.manifest.text, old.manifest.text_signature) == ("", "")
    trusted = {OTHER_SIGNER.key_id: OTHER_SIGNER.public_key}
    async with open_registry(path) as opened:
        registry = with_changes(opened, signer=None)
        assert (await registry.publish(history(2), old)).published == (1, 2)
        assert (await client(Wire(registry), trusted_keys=trusted).pull()).version == 2
        stripped = msgspec.structs.replace(release(APP).manifest, text="", text_signature="")
        with pytest.raises(BadRelease, match="signatures are not valid"):
            await registry.publish(history(2), msgspec.structs.replace(release(APP), manifest=stripped))
        assert (await registry.publish(history(2), release(APP), parts=[APP])).renewed
        with pytest.raises(BadRelease, match="in an older form than what is published"):
            await registry.publish(history(2), later)


async def test_a_state_of_before_is_signed_again_when_there_is_a_key(path: Path) -> None:
    async with open_registry(path) as registry:
        await registry.publish(history(2))
        manifest = (await registry.snapshot()).manifest
        assert manifest is not None
        by_hand(path, "UPDATE registry_manifest SET text = '', text_signature = ''")  # as 97dc196 leaves it
        assert await registry.renew()
        assert not await registry.renew()
        page = await page_of(registry)
        assert parsed(page["release"]["text"]).counter == page["counter"] > manifest.counter


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([PartFile(name="App.toml", content=b"")], "a part is named by"),
        ([PartFile(name="a\nmust b", content=b"")], "a part is named by"),
        ([APP, APP], "app.toml: it is there twice"),
        ([PartFile(name="a", content=bytes(1_048_577))], "over the limit"),
        ([PartFile(name=f"p{at}", content=b"") for at in range(65)], "64 at most"),
    ],
)
async def test_parts_that_no_release_can_have_are_refused(path: Path, parts: list[PartFile], reason: str) -> None:
    async with open_registry(path) as registry:
        for attempt in (registry.plan, registry.publish):
            with pytest.raises(BadRegistry, match=reason):
                await attempt(history(1), parts=parts)
        assert (await registry.snapshot()).version == 0


def test_the_commands_sign_and_publish_the_parts_that_registry_toml_names(
    freehold: Freehold,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = freehold.files
    (folder / "app.toml").write_bytes(APP.content)
    (folder / "registry.toml").write_text('[[part]]\nfile = "app.toml"\nmust_understand = true\n')
    done = freehold.run("publish", "--json")
    assert json.loads(done.stdout)["renewed"] is True, done.stderr
    assert "there is nothing to do" in freehold.run("publish").stderr
    (folder / "app.toml").write_text("[app]\n")
    assert "would be renewed" in freehold.run("publish", "--dry-run").stderr
    assert "was renewed" in freehold.run("publish").stderr
    assert "was renewed" in freehold.run("publish", "--renew").stderr

    freehold.environ["DATA_DIR"] = str(tmp_path / "other")
    key_file = str(tmp_path / "ci.pem")
    load_or_create_key(tmp_path / "ci.pem")
    signed = freehold.run("sign", "--key-file", key_file)
    text = json.loads(signed.stdout)["manifest"]["text"]
    assert parsed(text).parts == (Part("app.toml", hashlib.sha256(b"[app]\n").hexdigest(), must=True),)
    (tmp_path / "release.json").write_text(signed.stdout)
    elsewhere = {"REGISTRY_SIGNING": "external"}
    publish = ("publish", "--signed", str(tmp_path / "release.json"))
    assert freehold.run(*publish, **elsewhere).exit_code == 0
    assert "nothing to do" in freehold.run(*publish, **elsewhere).stderr
    refused = freehold.run("sign", "--key-file", key_file, "--form", "2")
    assert (refused.exit_code, "no room for the parts" in refused.stderr) == (2, True)
    (folder / "registry.toml").write_text('[[part]]\nfile = "../app.toml"\n[[part]]\nfile = "nothing"\n')
    refused = freehold.run("sign", "--key-file", key_file)
    assert refused.exit_code == 1
    assert "name a file of this folder" in refused.stderr
    assert "'nothing': no such file" in refused.stderr
    (folder / "registry.toml").unlink()
    older = json.loads(freehold.run("sign", "--key-file", key_file, "--form", "2").stdout)
    assert sorted(older["manifest"]) == ["chain", "counter", "expires_at_s", "key_id", "signature", "version"]


def _told(freehold: Freehold, *words: str) -> tuple[int, str]:  # noqa: F811
    """By a real command, ended by force if it waits."""
    done = warm.run(("registry", *words), folder=freehold.files, environ=clean_environ(**freehold.environ))
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[[part]]\nfile = "pipe"', "'pipe': not a regular file"),
        ('[[part]]\nfile = "zero"', "'zero': name a file of this folder"),
        ('[[part]]\nfile = "secret"', "'secret': name a file of this folder"),
        ('[[part]]\nfile = "circle"', "'circle': "),
        ('[[part]]\nfile = "a\\u0000b"', "no name of a file"),
        (f'[[part]]\nfile = "{"a" * 300}"', "file name too long"),
        ('[[part]]\nfile = ""', "is a directory"),
        ("x = " + "[" * 20_000, "registry.toml: it is nested too deeply"),
        ("#" * 1_100_000, "registry.toml: over the limit of 1048576 bytes"),
    ],
    ids=["pipe", "device", "link to elsewhere", "circle", "NUL", "long", "no name", "deep", "large"],
)
def test_an_odd_part_is_refused_by_name_and_nothing_is_published(
    freehold: Freehold,  # noqa: F811
    tmp_path: Path,
    text: str,
    reason: str,
) -> None:
    folder = freehold.files
    os.mkfifo(folder / "pipe")
    (tmp_path / "elsewhere").write_text("a secret")
    for name, to in {"zero": "/dev/zero", "secret": str(tmp_path / "elsewhere"), "circle": "circle"}.items():
        (folder / name).symlink_to(to)
    (folder / "registry.toml").write_text(text)
    code, stderr = _told(freehold, "publish")
    assert code == 1
    assert reason in stderr
    assert "Traceback" not in stderr
    assert len(stderr) < 500
    # A link within the folder is how Kubernetes mounts one.
    (folder / "..data").mkdir()
    (folder / "..data" / "app.toml").write_bytes(APP.content)
    (folder / "app.toml").symlink_to("..data/app.toml")
    (folder / "registry.toml").write_text('[[part]]\nfile = "app.toml"')
    assert _told(freehold, "publish")[0] == 0


@pytest.mark.parametrize("name", ["0003_pipe.sql", "registry.sum", "registry.toml", "fixtures/0001.sql"])
def test_no_pipe_in_the_folder_is_waited_at(freehold: Freehold, name: str) -> None:  # noqa: F811
    (freehold.files / "fixtures").mkdir()
    os.mkfifo(freehold.files / name)
    words = ("test", "--engine", "sqlite") if name.startswith("fixtures") else ("lint",)
    code, stderr = _told(freehold, *words)
    assert (code, "Traceback" in stderr) == (1, False)
    assert name in stderr
