"""The client SDK: sign in, get the user's database, pull the schema registry, verify it, bring the database up.

async with FreeholdClient("https://data.example.com") as freehold:
    await freehold.sign_in("amal@example.com", "correct horse battery")
    credentials = await freehold.credentials()
    await freehold.migrate()

What can be told of a failure: `DatabaseSuspended` with its `reason`, `DatabaseDeleted`, and `Unavailable`, which may
work later, after `retry_after` seconds.
"""

from freehold.client.client import FreeholdClient
from freehold.client.keys import FileKeyStore, KeyStore, MemoryKeyStore
from freehold.client.verify import VerifiedRegistry
from freehold.errors import FreeholdError, Unauthenticated, Unavailable
from freehold.migrate.signature import RegistryTampered
from freehold.tenants.errors import DatabaseDeleted, DatabaseDeleting, DatabaseSuspended
from freehold.wire import DatabaseCredentials

__all__ = [
    "DatabaseCredentials",
    "DatabaseDeleted",
    "DatabaseDeleting",
    "DatabaseSuspended",
    "FileKeyStore",
    "FreeholdClient",
    "FreeholdError",
    "KeyStore",
    "MemoryKeyStore",
    "RegistryTampered",
    "Unauthenticated",
    "Unavailable",
    "VerifiedRegistry",
]
