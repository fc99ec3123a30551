"""The client SDK: sign in, get the user's database, pull and verify the schema registry, migrate the database.

async with FreeholdClient("https://data.example.com") as freehold:
    await freehold.sign_in("amal@example.com", "correct horse battery")
    credentials = await freehold.credentials()
    await freehold.migrate()

`freehold.client.errors` has the tree of all errors that it raises; they can also be imported from here.
"""

from freehold.client.client import FreeholdClient
from freehold.client.errors import (
    AppTooOld,
    Conflict,
    DatabaseBusy,
    DatabaseDeleted,
    DatabaseDeleting,
    DatabaseFull,
    DatabaseSuspended,
    Forbidden,
    FreeholdError,
    HistoryDiverged,
    InvalidInput,
    LedgerUnreadable,
    MigrationFailed,
    NotFound,
    RegistryExpired,
    RegistryReplayed,
    RegistryTampered,
    ReleaseNotUnderstood,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from freehold.client.keys import FileKeyStore, KeyStore, MemoryKeyStore
from freehold.client.verify import VerifiedRegistry
from freehold.wire import DatabaseCredentials

__all__ = [
    "AppTooOld",
    "Conflict",
    "DatabaseBusy",
    "DatabaseCredentials",
    "DatabaseDeleted",
    "DatabaseDeleting",
    "DatabaseFull",
    "DatabaseSuspended",
    "FileKeyStore",
    "Forbidden",
    "FreeholdClient",
    "FreeholdError",
    "HistoryDiverged",
    "InvalidInput",
    "KeyStore",
    "LedgerUnreadable",
    "MemoryKeyStore",
    "MigrationFailed",
    "NotFound",
    "RegistryExpired",
    "RegistryReplayed",
    "RegistryTampered",
    "ReleaseNotUnderstood",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "VerifiedRegistry",
]
