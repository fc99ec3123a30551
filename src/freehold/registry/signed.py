"""Sign the registry: each row, and the state as a whole with a counter and an expiry.

Used by the server, if it holds the key, and by CI, which may be the only holder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.migrate.release_text import FIRST_COUNTER, Part, ReleaseNotUnderstood, ReleaseText, encoded, proved
from freehold.migrate.signature import (
    RegistryTampered,
    endorsement_text,
    from_text,
    is_signed,
    is_text_signed,
    key_id_of,
    manifest_text,
    retirement_text,
    signed_text,
    to_text,
)
from freehold.migrate.types import Migration, chains
from freehold.registry.ports import Signer
from freehold.registry.published import PublishedRegistry, listed_parts, stand_of
from freehold.registry.types import BadRelease, KeyStatement, Manifest, PartFile

LIFETIME_DAYS = 30
_DAY_S = 86_400
# A counter is derived from the signing time. One far in the future would block everything signed by a correct clock.
_MAX_AHEAD_MS = 86_400_000


class SignedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `freehold registry sign`: all that publishing needs from a key holder. Contains nothing secret.

    `rows` holds the signature of each version from 1 on.
    """

    manifest: Manifest
    public_key: str
    rows: tuple[str, ...]


def sign_state(release: ReleaseText, signer: Signer) -> Manifest:
    """Return the signed state, in the older format only if the counter belongs to it. Raises `ValueError`."""
    text = encoded(release) if release.counter >= FIRST_COUNTER else ""
    numbers = (release.version, release.chain, release.counter, release.expires_at_s)
    return Manifest(
        version=release.version,
        chain=release.chain,
        counter=release.counter,
        expires_at_s=release.expires_at_s,
        key_id=signer.key_id,
        signature=signer.sign(manifest_text(*numbers)),
        text=text,
        text_signature=signer.sign(text.encode("ascii")) if text else "",
    )


def next_counter(now_ms: int, manifest: Manifest | None) -> int:
    """Return a counter above the last one, based on time so that several places can sign without coordination."""
    return max(FIRST_COUNTER + now_ms, manifest.counter + 1 if manifest else 1)


def expiry_s(now_ms: int, lifetime_days: float) -> int:
    """Return when a state signed now expires, in seconds since 1970."""
    return int(now_ms // 1000 + lifetime_days * _DAY_S)


def is_stale(manifest: Manifest | None, now_ms: int, lifetime_days: float) -> bool:
    """Return whether the state should be signed again: under half its lifetime is left, or its format is old."""
    if manifest is None or not manifest.text:
        return True
    return manifest.expires_at_s - now_ms / 1000 < lifetime_days * _DAY_S / 2


def sign_release(
    migrations: Sequence[Migration], signer: Signer, *, counter: int, expires_at_s: int, parts: Sequence[Part] = ()
) -> SignedRelease:
    """Sign all migrations of a folder, and its parts, for publication elsewhere."""
    links = chains(migrations)
    head = ReleaseText(
        version=len(links),
        chain=links[-1] if links else "",
        counter=counter,
        expires_at_s=expires_at_s,
        parts=tuple(parts),
    )
    state = sign_state(head, signer)
    rows = tuple(signer.sign(signed_text(version, link)) for version, link in enumerate(links, start=1))
    return SignedRelease(manifest=state, public_key=signer.public_key, rows=rows)


def require_release(
    release: SignedRelease,
    migrations: Sequence[Migration],
    parts: Sequence[PartFile],
    snapshot: PublishedRegistry,
    now_ms: int,
) -> None:
    """Check that the release matches these files, has a key that may publish here, and may follow the published state.

    The first key that publishes to an empty registry is accepted; later keys must be added with `registry keys add`. A
    release that `is_outdone` passes, because it came earlier.

    Raises:
        BadRelease: with the reason.
    """
    state = release.manifest
    links = chains(migrations)
    if (state.version, state.chain) != (len(links), links[-1] if links else ""):
        raise BadRelease("it was signed for other files than these; sign this folder")
    known = {key.key_id: key.public_key for key in snapshot.keys}
    if known and known.get(state.key_id) != release.public_key:
        raise BadRelease(f"its key {state.key_id} is not known here; an operator adds it with `registry keys add`")
    if state.key_id in snapshot.retired:
        raise BadRelease(f"its key {state.key_id} was retired; sign with the one that replaced it")
    if not _is_genuine(release, links):
        raise BadRelease("its signatures are not valid; sign again")
    if listed_parts(state) != listed(parts):
        raise BadRelease("it was signed for other parts than these; sign this folder")
    if state.expires_at_s * 1000 <= now_ms:
        raise BadRelease("it has expired; sign again")
    if _signed_at_ms(state) > now_ms + _MAX_AHEAD_MS:
        raise BadRelease("it was signed by a clock that is more than a day ahead; set that and sign again")
    if is_outdone(state, snapshot):
        return
    if not state.text and snapshot.manifest is not None and snapshot.manifest.counter >= FIRST_COUNTER:
        raise BadRelease("it is signed in an older form than what is published; sign with this version of Freehold")
    if snapshot.manifest is not None and state.counter <= snapshot.manifest.counter:
        raise BadRelease(
            f"its counter {state.counter} is not above {snapshot.manifest.counter}, which is published; sign again"
        )
    if state.version < snapshot.version:
        raise BadRelease(
            f"it ends at version {state.version}, and {snapshot.version} is published; "
            "sign a folder that has all of them"
        )


def listed(parts: Sequence[PartFile]) -> tuple[Part, ...]:
    """Return the parts as they appear in the signed text."""
    return tuple(sorted((part.listed for part in parts), key=lambda part: part.name))


def is_outdone(state: Manifest, snapshot: PublishedRegistry) -> bool:
    """Return whether the registry already has this state's versions and a signature that lasts at least as long.

    True if a release is published again, and for the earlier of two signed at the same time. The caller checks that its
    history is the registry's, see `publishing.compare`.
    """
    newest = snapshot.manifest
    return (
        newest is not None
        and state.version <= newest.version
        and state.counter <= newest.counter
        and state.expires_at_s <= newest.expires_at_s
    )


def _is_genuine(release: SignedRelease, links: Sequence[str]) -> bool:
    state, public_key = release.manifest, release.public_key
    try:
        if key_id_of(from_text(public_key)) != state.key_id:
            return False
    except ValueError:
        return False
    text = manifest_text(state.version, state.chain, state.counter, state.expires_at_s)
    return (
        is_text_signed(text, state.signature, public_key)
        and _is_text_proved(state, public_key)
        and len(release.rows) == len(links)
        and all(
            is_signed(version, link, signature, public_key)
            for version, (link, signature) in enumerate(zip(links, release.rows, strict=True), start=1)
        )
    )


def _is_text_proved(state: Manifest, public_key: str) -> bool:
    if state.counter < FIRST_COUNTER:
        return not state.text and not state.text_signature
    try:
        proved(state.text, state.text_signature, public_key, stand_of(state))
    except (RegistryTampered, ReleaseNotUnderstood):
        return False
    return True


def _signed_at_ms(state: Manifest) -> int:
    return state.counter - FIRST_COUNTER if state.counter >= FIRST_COUNTER else state.counter


def endorsement(of_public_key: str, by: Signer) -> KeyStatement:
    """Return the statement that makes clients that trust `by` trust the other key too."""
    key_id = key_id_of(from_text(of_public_key))
    signature = by.sign(endorsement_text(of_public_key))
    return KeyStatement(key_id=key_id, kind="endorsed", by_key_id=by.key_id, signature=signature)


def retirement(of_key_id: str, by: Signer) -> KeyStatement:
    """Return the statement that makes clients that trust `by` drop the other key."""
    signature = by.sign(retirement_text(of_key_id))
    return KeyStatement(key_id=of_key_id, kind="retired", by_key_id=by.key_id, signature=signature)


@dataclass(frozen=True, slots=True, repr=False)
class Ed25519Signer:
    """Implements `ports.Signer` with a key held in memory. Created by `signer_of`."""

    private_key: Ed25519PrivateKey
    key_id: str
    public_key: str

    def sign(self, text: bytes) -> str:
        return to_text(self.private_key.sign(text))


def signer_of(private_key: Ed25519PrivateKey) -> Ed25519Signer:
    raw = private_key.public_key().public_bytes_raw()
    return Ed25519Signer(private_key, key_id_of(raw), to_text(raw))
