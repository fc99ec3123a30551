"""What API keys need of the outside."""

from collections.abc import Callable, Sequence
from typing import Protocol

from freehold.auth.api_keys.types import ApiKey, ApiKeyPage, KeyHolder


class ApiKeyStore(Protocol):
    """API keys by the hashes of their texts. Every method raises `CentralUnavailable` when there is no answer."""

    async def user_id_of(self, email: str) -> str | None:
        """The id of the user with this address (in lower case)."""
        ...

    async def add_api_key(
        self, key: ApiKey, key_hash: str, *, most: int, asked_by: str | None = None
    ) -> None:
        """Raises `TooManyApiKeys` when its owner has so many, `NotFound` when the owner, or the session, is gone."""
        ...

    async def api_keys_of(self, user_id: str, page: ApiKeyPage) -> tuple[Sequence[ApiKey], int]:
        """The user's keys, the oldest first if no order is asked for; and how many there are."""
        ...

    async def change_api_key(
        self, user_id: str, key_id: str, change: Callable[[ApiKey], ApiKey] | None
    ) -> ApiKey:
        """The user's key, after the change if there is one, in one transaction. Raises `ApiKeyNotFound`."""
        ...

    async def delete_api_key(self, user_id: str, key_id: str) -> None:
        """Raises `ApiKeyNotFound`."""
        ...

    async def find_api_key(self, key_hash: str) -> KeyHolder | None:
        """The key and its owner, whether it is to be used or not."""
        ...

    async def use_api_key(self, key_hash: str, use: Callable[[ApiKey], ApiKey]) -> ApiKey | None:
        """The key after `use`, in one transaction; what that raises changes nothing. None if it is gone."""
        ...

    async def forget_api_key(self, key_hash: str) -> None:
        """No error if it is already gone."""
        ...
