"""Signs the registry with an Ed25519 key; the key's file is `freehold.keys`' business."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.migrate.signature import key_id_of, to_text


@dataclass(frozen=True, slots=True, repr=False)
class Ed25519Signer:
    """Implements `ports.Signer` with a key held in memory. Made by `signer_of`."""

    private_key: Ed25519PrivateKey
    key_id: str
    public_key: str

    def sign(self, text: bytes) -> str:
        return to_text(self.private_key.sign(text))


def signer_of(private_key: Ed25519PrivateKey) -> Ed25519Signer:
    """A signer with this key."""
    raw = private_key.public_key().public_bytes_raw()
    return Ed25519Signer(private_key, key_id_of(raw), to_text(raw))
