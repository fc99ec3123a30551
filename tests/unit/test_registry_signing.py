"""What a signature of the registry covers."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.migrate.signature import from_text, is_signed, key_id_of, signed_text, to_text
from freehold.registry.signed import signer_of

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


def test_a_signer_does_not_show_its_key() -> None:
    private_key = Ed25519PrivateKey.generate()
    assert private_key.private_bytes_raw().hex() not in repr(signer_of(private_key))
