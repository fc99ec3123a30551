"""The key that signs the registry, and what a signature covers."""

import multiprocessing
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from freehold.migrate.signature import from_text, is_signed, key_id_of, signed_text, to_text
from freehold.registry.signing import _load_or_create, load_or_create_signer, load_signer, signer_of
from freehold.registry.types import BadSigningKey

CHAIN = "ab" * 32


def test_the_signed_text_is_fixed() -> None:
    assert signed_text(7, CHAIN) == b"freehold-registry-v1\n7\n" + CHAIN.encode() + b"\n"


def test_a_signature_holds_for_its_version_chain_and_key_only() -> None:
    signer, other = signer_of(Ed25519PrivateKey.generate()), signer_of(Ed25519PrivateKey.generate())
    signature = signer.sign(signed_text(7, CHAIN))
    assert is_signed(7, CHAIN, signature, signer.public_key)
    assert not is_signed(8, CHAIN, signature, signer.public_key)
    assert not is_signed(7, "cd" * 32, signature, signer.public_key)
    assert not is_signed(7, CHAIN, signature, other.public_key)


@pytest.mark.parametrize("text", ["", "!", "AA", "é", "A" * 86, "A" * 88 + "=="])
def test_malformed_signatures_and_keys_are_just_wrong(text: str) -> None:
    signer = signer_of(Ed25519PrivateKey.generate())
    assert not is_signed(1, CHAIN, text, signer.public_key)
    assert not is_signed(1, CHAIN, signer.sign(signed_text(1, CHAIN)), text)


def test_a_key_is_named_after_its_bytes() -> None:
    signer = signer_of(Ed25519PrivateKey.generate())
    assert signer.key_id == key_id_of(from_text(signer.public_key))
    assert len(signer.key_id) == 16


def test_bytes_have_one_text_only() -> None:
    assert to_text(b"\xff") == "_w"
    assert from_text("_w") == b"\xff"
    for other in ("_x", "_w==", "/w", "_w\n"):
        with pytest.raises(ValueError, match="base64url"):
            from_text(other)


async def test_a_missing_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "registry.pem"
    first = await load_or_create_signer(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (await load_or_create_signer(path)).key_id == first.key_id
    assert (await load_signer(path)).key_id == first.key_id
    assert list(tmp_path.iterdir()) == [path]


def _key_id(path: Path) -> str:
    return _load_or_create(path).key_id


def test_processes_that_start_together_use_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        key_ids = pool.map(_key_id, [tmp_path / "registry.pem"] * 12)
    assert len(set(key_ids)) == 1
    assert len(list(tmp_path.iterdir())) == 1


async def test_a_missing_key_is_not_made_where_it_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(BadSigningKey, match="No such file"):
        await load_signer(tmp_path / "registry.pem")


async def test_files_without_a_usable_key_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.pem"
    ed25519 = Ed25519PrivateKey.generate()
    for content in (
        b"",
        b"hello",
        generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ed25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
    ):
        path.write_bytes(content)
        with pytest.raises(BadSigningKey, match=r"registry\.pem"):
            await load_or_create_signer(path)
        assert path.read_bytes() == content


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadSigningKey, match="cannot write"):
        await load_or_create_signer(tmp_path / "nowhere" / "registry.pem")


def test_a_signer_does_not_show_its_key() -> None:
    private_key = Ed25519PrivateKey.generate()
    assert private_key.private_bytes_raw().hex() not in repr(signer_of(private_key))
