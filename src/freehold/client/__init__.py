"""The client SDK: sign in, get the user's database, pull the schema registry, verify it, bring the database up.

async with FreeholdClient("https://data.example.com") as freehold:
    await freehold.sign_in("amal@example.com", "correct horse battery")
    credentials = await freehold.credentials()
    await freehold.migrate()
"""

from freehold.client.client import FreeholdClient
from freehold.client.keys import FileKeyStore, KeyStore, MemoryKeyStore
from freehold.client.verify import VerifiedRegistry
from freehold.migrate.signature import RegistryTampered
from freehold.wire import DatabaseCredentials

__all__ = [
    "DatabaseCredentials",
    "FileKeyStore",
    "FreeholdClient",
    "KeyStore",
    "MemoryKeyStore",
    "RegistryTampered",
    "VerifiedRegistry",
]
