"""Where a client remembers the key that signed a service's registry when it first met it."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from freehold.errors import InvalidInput


class KeyStore(Protocol):
    """Keys pinned for each service: key id to raw public key as unpadded base64url."""

    async def load(self, service: str) -> Mapping[str, str]:
        """The keys of the service at this URL; empty when none was pinned yet."""
        ...

    async def pin(self, service: str, key_id: str, public_key: str) -> None:
        """Trust this key for the service from now on."""
        ...


class MemoryKeyStore:
    """Forgets at exit: good for tests, and where the keys are given as `trusted_keys`."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, str]] = {}

    async def load(self, service: str) -> Mapping[str, str]:
        return self._keys.get(service, {})

    async def pin(self, service: str, key_id: str, public_key: str) -> None:
        self._keys.setdefault(service, {})[key_id] = public_key


class FileKeyStore:
    """One JSON file, replaced whole at each change. Keep it where the app keeps its other settings."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changing = asyncio.Lock()

    async def load(self, service: str) -> Mapping[str, str]:
        """As the protocol says.

        Raises:
            InvalidInput: the file is damaged or cannot be read: that is no reason to trust anew.
        """
        return (await asyncio.to_thread(self._read)).get(service, {})

    async def pin(self, service: str, key_id: str, public_key: str) -> None:
        async with self._changing:
            await asyncio.to_thread(self._add, service, key_id, public_key)

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, dict[str, str]])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise InvalidInput(f"{self._path} is not a file of pinned keys; restore or remove it") from error
        except OSError as error:
            raise InvalidInput(f"cannot read the pinned keys in {self._path}: {error.strerror}") from error

    def _add(self, service: str, key_id: str, public_key: str) -> None:
        keys = self._read()
        keys.setdefault(service, {})[key_id] = public_key
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(keys)))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            raise InvalidInput(f"cannot pin the key in {self._path}: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()
