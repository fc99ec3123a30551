"""Where a client remembers what it learnt of a service's registry: the keys that sign it, how far it had got."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from freehold.errors import InvalidInput


class KeyStore(Protocol):
    """Keys pinned for each service: key id to raw public key as unpadded base64url. And the highest counter seen."""

    async def load(self, service: str) -> Mapping[str, str]:
        """The keys of the service at this URL; empty when none was pinned yet."""
        ...

    async def pin(self, service: str, key_id: str, public_key: str) -> None:
        """Trust this key for the service from now on."""
        ...

    async def forget(self, service: str, key_id: str) -> None:
        """Trust this key no more; nothing happens if it was not trusted."""
        ...

    async def counter(self, service: str) -> int:
        """The highest counter of the service's registry that was seen; 0 before the first."""
        ...

    async def remember(self, service: str, counter: int) -> None:
        """Note a counter that was seen; a lower one than before changes nothing."""
        ...


class _Known(Struct):
    keys: dict[str, str] = {}
    counter: int = 0


class MemoryKeyStore:
    """Forgets at exit: good for tests. An old registry, replayed, is noticed only while the process lives."""

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
    """One JSON file, replaced whole at each change. Keep it where the app keeps its other settings."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changing = asyncio.Lock()

    async def load(self, service: str) -> Mapping[str, str]:
        """As the protocol says.

        Raises:
            InvalidInput: the file is damaged or cannot be read: that is no reason to trust it again.
        """
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
