"""Which keys may sign a service's registry, and where a client stores them and the newest counter."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from freehold.errors import InvalidInput
from freehold.migrate.signature import (
    RegistryTampered,
    endorsement_text,
    is_named_after,
    is_text_signed,
    retirement_text,
)
from freehold.wire import KeyWord, PublicKey


class KeyStore(Protocol):
    """Pinned keys by service: key id to raw public key in unpadded base64url. Also the highest counter seen."""

    async def load(self, service: str) -> Mapping[str, str]:
        """Return the keys of the service at this URL; empty if none is pinned yet."""

    async def pin(self, service: str, key_id: str, public_key: str) -> None:
        """Trust this key for the service from now on."""

    async def forget(self, service: str, key_id: str) -> None:
        """Stop trusting this key; does nothing if it was not trusted."""

    async def counter(self, service: str) -> int:
        """Return the highest counter seen of the service's registry; 0 if none."""

    async def remember(self, service: str, counter: int) -> None:
        """Record a counter; ignored if lower than the highest."""


class _Known(Struct):
    keys: dict[str, str] = {}
    counter: int = 0


class MemoryKeyStore:
    """Forgets at exit, so it is meant for tests. It detects a replayed old registry only within one process."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    async def load(self, service: str) -> Mapping[str, str]:
        return dict(self._of(service).keys)

    async def pin(self, service: str, key_id: str, public_key: str) -> None:
        self._of(service).keys[key_id] = public_key

    async def forget(self, service: str, key_id: str) -> None:
        self._of(service).keys.pop(key_id, None)

    async def counter(self, service: str) -> int:
        return self._of(service).counter

    async def remember(self, service: str, counter: int) -> None:
        self._of(service).counter = max(counter, self._of(service).counter)

    def _of(self, service: str) -> _Known:
        return self._known.setdefault(service, _Known())


class FileKeyStore:
    """One JSON file, replaced as a whole at each change. Store it where the app keeps its other settings."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changing = asyncio.Lock()

    async def load(self, service: str) -> Mapping[str, str]:
        """Return the keys. Raises `InvalidInput` for a damaged file, which is no reason to trust a new key."""
        return (await self._of(service)).keys

    async def pin(self, service: str, key_id: str, public_key: str) -> None:
        async with self._changing:
            known = await self._of(service)
            known.keys[key_id] = public_key
            await asyncio.to_thread(self._put, service, known)

    async def forget(self, service: str, key_id: str) -> None:
        async with self._changing:
            known = await self._of(service)
            if known.keys.pop(key_id, None) is not None:
                await asyncio.to_thread(self._put, service, known)

    async def counter(self, service: str) -> int:
        return (await self._of(service)).counter

    async def remember(self, service: str, counter: int) -> None:
        async with self._changing:
            known = await self._of(service)
            if counter > known.counter:
                known.counter = counter
                await asyncio.to_thread(self._put, service, known)

    async def _of(self, service: str) -> _Known:
        return (await asyncio.to_thread(self._read)).get(service, _Known())

    def _read(self) -> dict[str, _Known]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Known])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise InvalidInput(f"{self._path} is not a file of pinned keys; restore or remove it") from error
        except OSError as error:
            raise InvalidInput(f"cannot read the pinned keys in {self._path}: {error.strerror}") from error

    def _put(self, service: str, known: _Known) -> None:
        services = self._read()
        services[service] = known
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(services)))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            raise InvalidInput(f"cannot pin the key in {self._path}: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()


class Learnt(Struct, frozen=True):
    """What to remember: keys to pin, and ids of keys to forget."""

    pinned: tuple[tuple[str, str], ...] = ()
    forgotten: tuple[str, ...] = ()


def first_key(key_id: str, announced: Sequence[PublicKey]) -> tuple[str, Learnt]:
    """Return the key with this id as announced by the service, to be pinned. Raises `RegistryTampered`."""
    for key in announced:
        if key.key_id == key_id:
            _require_named(key)
            return key.public_key, Learnt(((key_id, key.public_key),))
    raise RegistryTampered(f"the registry is signed with key {key_id!r}, which the service does not announce")


def followed_key(key_id: str, announced: Sequence[PublicKey], trusted: Mapping[str, str]) -> tuple[str, Learnt]:
    """Return the key with this id if a trusted key endorses it, directly or indirectly. Raises `RegistryTampered`."""
    believed = dict(trusted)
    waiting, reached = list(announced), True
    # Each round may reach one key further. An endorsement is checked once, when its endorser becomes trusted: an
    # attacker may announce thousands, and each check costs a signature.
    while reached:
        reached, unspoken_for = False, []
        for key in waiting:
            if key.endorsed is None or key.endorsed.by_key_id not in believed:
                unspoken_for.append(key)
            elif key.key_id not in believed and _is_said(key.endorsed, key.public_key, endorsement_text, believed):
                _require_named(key)
                believed[key.key_id] = key.public_key
                reached = True
        waiting = unspoken_for
    if key_id not in believed:
        raise RegistryTampered(
            f"the registry is signed with key {key_id!r}, which is not trusted; "
            "if its operator replaced the key, add the new one to the trusted keys"
        )
    retired = tuple(key.key_id for key in announced if _is_said(key.retired, key.key_id, retirement_text, believed))
    if key_id in retired:
        raise RegistryTampered(f"the registry is signed with key {key_id!r}, which was retired")
    new = {each: text for each, text in believed.items() if each not in trusted and each not in retired}
    return believed[key_id], Learnt(tuple(new.items()), retired)


def _is_said(word: KeyWord | None, about: str, text: Callable[[str], bytes], believed: Mapping[str, str]) -> bool:
    """Return whether a believed key signed this text about a key."""
    if word is None or word.by_key_id not in believed or not about.isascii():
        return False
    return is_text_signed(text(about), word.signature, believed[word.by_key_id])


def _require_named(key: PublicKey) -> None:
    if not is_named_after(key.key_id, key.public_key):
        raise RegistryTampered(f"the key that the service announces as {key.key_id!r} does not fit its name")
