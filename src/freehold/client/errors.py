"""Every error that the SDK raises, each with a `code` for programs and a message that says what to do.

FreeholdError
├── InvalidInput               what was given cannot be right: an address, a URL, a key file, a version
├── Unauthenticated            sign in first, or again
├── Forbidden                  known, and not allowed
│   └── DatabaseSuspended      by its operator; `reason` is theirs
├── NotFound
│   └── DatabaseDeleted        it is gone, and does not come back by itself
├── Conflict                   the state of things does not allow it
│   ├── DatabaseDeleting       it is being deleted
│   ├── MigrationFailed        a migration fails on this database; `version`, `statement` and `reason` say where
│   ├── HistoryDiverged        the database was made by other migrations
│   └── LedgerUnreadable       the record of what was applied cannot be read
├── TooLarge                   more than the service takes
├── AppTooOld                  update the app
│   └── ReleaseNotUnderstood   a part of the release that must be understood is not
├── RegistryTampered           signatures, keys or hashes do not fit: someone between, or a wrong key
│   ├── RegistryReplayed       an older registry than one that was seen
│   └── RegistryExpired        its signature is too old
└── Unavailable                may work later, after `retry_after` seconds
    ├── DatabaseBusy           someone else holds the write lock
    └── DatabaseFull           the database has no room
"""

from freehold.errors import (
    AppTooOld,
    Conflict,
    Forbidden,
    FreeholdError,
    InvalidInput,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from freehold.migrate.failures import DatabaseBusy, DatabaseFull, HistoryDiverged, LedgerUnreadable, MigrationFailed
from freehold.migrate.release_text import ReleaseNotUnderstood
from freehold.migrate.signature import RegistryExpired, RegistryReplayed, RegistryTampered
from freehold.tenants.errors import DatabaseDeleted, DatabaseDeleting, DatabaseSuspended

__all__ = [
    "AppTooOld", "Conflict", "DatabaseBusy", "DatabaseDeleted", "DatabaseDeleting", "DatabaseFull", "DatabaseSuspended",
    "Forbidden", "FreeholdError", "HistoryDiverged", "InvalidInput", "LedgerUnreadable", "MigrationFailed", "NotFound",
    "RegistryExpired", "RegistryReplayed", "RegistryTampered", "ReleaseNotUnderstood", "TooLarge", "Unauthenticated",
    "Unavailable",
]  # fmt: skip
