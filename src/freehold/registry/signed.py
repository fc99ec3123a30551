"""Signing the registry: its rows one by one, and its state as a whole with a counter and an expiry.

The same on the server, which may hold the key, and in CI, which may be the only place that does.
"""

from collections.abc import Sequence

import msgspec

from freehold.migrate.signature import (
    endorsement_text,
    from_text,
    is_signed,
    is_text_signed,
    key_id_of,
    manifest_text,
    retirement_text,
    signed_text,
)
from freehold.migrate.types import Migration, chains
from freehold.registry.ports import Signer
from freehold.registry.snapshot import Snapshot
from freehold.registry.types import BadRelease, KeyStatement, Manifest

LIFETIME_DAYS = 30
_DAY_S = 86_400
# A counter is the time of signing. One far ahead would keep out all that is signed by a right clock until then.
_MAX_AHEAD_MS = 86_400_000


class SignedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """What `freehold registry sign` writes: everything that publishing needs of a key, and no key.

    `rows` are the signatures of each version from 1 on. Holds nothing secret.
    """

    manifest: Manifest
    public_key: str
    rows: tuple[str, ...]


def sign_state(version: int, chain: str, signer: Signer, counter: int, expires_at_s: int) -> Manifest:
    """The state of the registry, signed."""
    return Manifest(
        version=version,
        chain=chain,
        counter=counter,
        expires_at_s=expires_at_s,
        key_id=signer.key_id,
        signature=signer.sign(manifest_text(version, chain, counter, expires_at_s)),
    )


def next_counter(now_ms: int, manifest: Manifest | None) -> int:
    """A counter above the last. Time is its base, so that several places can sign without asking each other."""
    return max(now_ms, manifest.counter + 1 if manifest else 1)


def expiry_s(now_ms: int, lifetime_days: float) -> int:
    """When a state that is signed now expires, in seconds since 1970."""
    return int(now_ms // 1000 + lifetime_days * _DAY_S)


def is_stale(manifest: Manifest | None, now_ms: int, lifetime_days: float) -> bool:
    """Whether the state should be signed anew: less than half of its life is left."""
    return manifest is None or manifest.expires_at_s - now_ms / 1000 < lifetime_days * _DAY_S / 2


def sign_release(
    migrations: Sequence[Migration], signer: Signer, *, counter: int, expires_at_s: int
) -> SignedRelease:
    """All migrations of a folder, signed to be published elsewhere."""
    links = chains(migrations)
    state = sign_state(len(links), links[-1] if links else "", signer, counter, expires_at_s)
    rows = tuple(signer.sign(signed_text(version, link)) for version, link in enumerate(links, start=1))
    return SignedRelease(manifest=state, public_key=signer.public_key, rows=rows)


def require_release(
    release: SignedRelease, migrations: Sequence[Migration], snapshot: Snapshot, now_ms: int
) -> None:
    """Return if the release is of these migrations and by a key that may publish here, and may be what comes next.

    The first key that publishes to an empty registry is taken; later ones have to be added by `registry keys add`.
    One that `is_outdone` passes: it came before.

    Raises:
        BadRelease: with the reason.
    """
    state = release.manifest
    links = chains(migrations)
    if (state.version, state.chain) != (len(links), links[-1] if links else ""):
        raise BadRelease("it was signed for other files than these; sign this folder")
    known = {key.key_id: key.public_key for key in snapshot.keys}
    if known and known.get(state.key_id) != release.public_key:
        raise BadRelease(
            f"its key {state.key_id} is not known here; an operator adds it with `registry keys add`"
        )
    if state.key_id in snapshot.retired:
        raise BadRelease(f"its key {state.key_id} was retired; sign with the one that replaced it")
    if not _is_genuine(release, links):
        raise BadRelease("its signatures are not valid; sign again")
    if state.expires_at_s * 1000 <= now_ms:
        raise BadRelease("it has expired; sign again")
    if state.counter > now_ms + _MAX_AHEAD_MS:
        raise BadRelease("it was signed by a clock that is more than a day ahead; set that and sign again")
    if is_outdone(state, snapshot):
        return
    if snapshot.manifest is not None and state.counter <= snapshot.manifest.counter:
        raise BadRelease(
            f"its counter {state.counter} is not above {snapshot.manifest.counter}, which is published; sign again"
        )
    if state.version < snapshot.version:
        raise BadRelease(
            f"it ends at version {state.version}, and {snapshot.version} is published; "
            "sign a folder that has all of them"
        )


def is_outdone(state: Manifest, snapshot: Snapshot) -> bool:
    """Whether the registry has all that this state brings: its versions, and a signature that lasts as long.

    So it is when the same release comes again, and for the earlier of two that were signed at the same time. Its
    history has to be the registry's, see `publishing.compare`.
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
        and len(release.rows) == len(links)
        and all(
            is_signed(version, link, signature, public_key)
            for version, (link, signature) in enumerate(zip(links, release.rows, strict=True), start=1)
        )
    )


def endorsement(of_public_key: str, by: Signer) -> KeyStatement:
    """What lets clients that trust `by` trust the other key too."""
    key_id = key_id_of(from_text(of_public_key))
    signature = by.sign(endorsement_text(of_public_key))
    return KeyStatement(key_id=key_id, kind="endorsed", by_key_id=by.key_id, signature=signature)


def retirement(of_key_id: str, by: Signer) -> KeyStatement:
    """What makes clients that follow `by` forget the other key."""
    signature = by.sign(retirement_text(of_key_id))
    return KeyStatement(key_id=of_key_id, kind="retired", by_key_id=by.key_id, signature=signature)
