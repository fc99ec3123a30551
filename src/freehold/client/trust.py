"""Which key may speak for a service's registry: the first one met, and those that it leads to."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from freehold.client.keys import KeyStore
from freehold.migrate.signature import (
    RegistryTampered,
    endorsement_text,
    is_named_after,
    is_text_signed,
    retirement_text,
)
from freehold.wire import PublicKey


class Learnt(Struct, frozen=True):
    """What to remember: keys to pin, and ids of keys to forget."""

    pinned: tuple[tuple[str, str], ...] = ()
    forgotten: tuple[str, ...] = ()


async def learn(store: KeyStore, service: str, learnt: Learnt) -> None:
    """Remember it."""
    for key_id, public_key in learnt.pinned:
        await store.pin(service, key_id, public_key)
    for key_id in learnt.forgotten:
        await store.forget(service, key_id)


def first_key(key_id: str, announced: Sequence[PublicKey]) -> tuple[str, Learnt]:
    """The key of this id as the service itself announces it, to be pinned. Raises `RegistryTampered`."""
    for key in announced:
        if key.key_id == key_id:
            _require_named(key)
            return key.public_key, Learnt(((key_id, key.public_key),))
    raise RegistryTampered(f"the registry is signed with key {key_id!r}, which the service does not announce")


def followed_key(
    key_id: str, announced: Sequence[PublicKey], trusted: Mapping[str, str]
) -> tuple[str, Learnt]:
    """The key of this id, if a chain of endorsements leads to it from a trusted one. Raises `RegistryTampered`."""
    believed = dict(trusted)
    waiting, reached = list(announced), True
    # Each round may reach one further. Whether a key is endorsed is looked at once, when its endorser is believed:
    # whoever is on the way may announce thousands, and each look costs a signature.
    while reached:
        reached, unspoken_for = False, []
        for key in waiting:
            if key.endorsed is None or key.endorsed.by_key_id not in believed:
                unspoken_for.append(key)
            elif key.key_id not in believed and _is_endorsed(key, believed):
                _require_named(key)
                believed[key.key_id] = key.public_key
                reached = True
        waiting = unspoken_for
    if key_id not in believed:
        raise RegistryTampered(
            f"the registry is signed with key {key_id!r}, which is not trusted; "
            "if its operator replaced the key, add the new one to the trusted keys"
        )
    retired = tuple(key.key_id for key in announced if _is_retired(key, believed))
    if key_id in retired:
        raise RegistryTampered(f"the registry is signed with key {key_id!r}, which was retired")
    new = {each: text for each, text in believed.items() if each not in trusted and each not in retired}
    return believed[key_id], Learnt(tuple(new.items()), retired)


def _is_endorsed(key: PublicKey, believed: Mapping[str, str]) -> bool:
    word = key.endorsed
    if word is None or word.by_key_id not in believed or not key.public_key.isascii():
        return False
    return is_text_signed(endorsement_text(key.public_key), word.signature, believed[word.by_key_id])


def _is_retired(key: PublicKey, believed: Mapping[str, str]) -> bool:
    word = key.retired
    if word is None or word.by_key_id not in believed or not key.key_id.isascii():
        return False
    return is_text_signed(retirement_text(key.key_id), word.signature, believed[word.by_key_id])


def _require_named(key: PublicKey) -> None:
    if not is_named_after(key.key_id, key.public_key):
        raise RegistryTampered(f"the key that the service announces as {key.key_id!r} does not fit its name")
