"""The client SDK: sign in, get the user's database, pull and verify the schema registry, migrate the database.

async with FreeholdClient("https://data.example.com") as freehold:
    await freehold.sign_in("amal@example.com", "correct horse battery")
    credentials = await freehold.credentials()
    await freehold.migrate()

`freehold.client.errors` has the tree of all errors that it raises; they can also be imported from here.
"""

from freehold.client import errors
from freehold.client.client import FreeholdClient
from freehold.client.errors import *  # noqa: F403 - all that `errors.__all__` lists
from freehold.client.keys import FileKeyStore, KeyStore, MemoryKeyStore
from freehold.client.verify import VerifiedRegistry
from freehold.wire import DatabaseCredentials

__all__ = ["DatabaseCredentials", "FileKeyStore", "FreeholdClient", "KeyStore", "MemoryKeyStore", "VerifiedRegistry"]
__all__ += errors.__all__
