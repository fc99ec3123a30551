"""Published migrations and the errors about them."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import msgspec

from freehold.errors import Conflict, InvalidInput
from freehold.migrate.release_text import Part

MAX_VERSION = 9_999  # file names have four digits


class PublishedMigration(msgspec.Struct, frozen=True, kw_only=True):
    """The central row of one published migration; it never changes. `chain` and `signature` cover all up to it."""

    version: int
    name: str
    description: str
    sql: str
    checksum: str
    chain: str
    key_id: str
    signature: str
    created_at: str


class RegistryKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key that signed something; `public_key` is the raw key as unpadded base64url."""

    key_id: str
    public_key: str
    created_at: str


class KeyStatement(msgspec.Struct, frozen=True, kw_only=True):
    """One key's statement about another: `endorsed` by its predecessor, or `retired` by its successor."""

    key_id: str
    kind: Literal["endorsed", "retired"]
    by_key_id: str
    signature: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The registry's state as last signed. `counter` grows with each; `expires_at_s` is in seconds since 1970.

    `text` holds all of it and the release's parts, signed by `text_signature`; both are empty in the older format.
    `signature` is for apps that do not know the text.
    """

    version: int
    chain: str
    counter: int
    expires_at_s: int
    key_id: str
    signature: str
    text: str = ""
    text_signature: str = ""


class PartFile(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A further part of a release. `must_understand`: SDKs that do not know it must refuse the release."""

    name: str
    content: bytes
    must_understand: bool = False

    @cached_property
    def listed(self) -> Part:
        """The part as it appears in the signed text."""
        return Part(self.name, hashlib.sha256(self.content).hexdigest(), self.must_understand)


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """All registry data of the central database at one point in time, not yet verified."""

    rows: Sequence[PublishedMigration]
    keys: Sequence[RegistryKey]
    statements: Sequence[KeyStatement] = ()
    manifest: Manifest | None = None
    # (SHA-256, content) of each part that the manifest's text lists.
    parts: Sequence[tuple[str, bytes]] = ()


class PublishReport(msgspec.Struct, frozen=True, kw_only=True):
    """What publishing did: `published` now, `already` there with the same SQL, and the `version` reached.

    `without_file` lists published versions that were not passed in, e.g. those registered over HTTP. `renewed` tells
    whether the registry now has a newer signature.
    """

    published: tuple[int, ...]
    already: int
    version: int
    without_file: tuple[int, ...] = ()
    renewed: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a client's version: up to date if nothing is `required`."""

    current_version: int
    client_version: int
    required: tuple[PublishedMigration, ...]


class BadRegistry(InvalidInput):
    """The migrations folder, or a release of it, has faults."""

    code = "bad_registry"
    remedy = "Change what each of `faults` names."

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)


class PublishedMigrationChanged(Conflict):
    """This version was published with other SQL."""

    code = "published_migration_changed"
    remedy = "Restore the file, or publish a new version."


class AlreadyPublished(Conflict):
    """This SQL is already the newest published migration."""

    code = "already_published"
    remedy = "There is nothing to do."


class RegistryMoved(Conflict):
    """Someone else published at the same time; nothing was written."""

    code = "registry_moved"
    message = "another migration was published at the same time; look at it, then try again"
    remedy = "Try again."


class SignedElsewhere(Conflict):
    """This service has no key that signs the registry."""

    code = "signed_elsewhere"
    remedy = "Sign in CI with `registry sign`, and publish that."


class BadRelease(Conflict):
    """A signed release cannot be published: it has another key, an older counter, different or fewer files than are
    published, or has expired.
    """

    code = "bad_release"
    remedy = "Sign the current files again, with the registry's key."


class KeyRetired(Conflict):
    """The signing key has been replaced by another."""

    code = "registry_key_retired"
    remedy = "Restart the process with its successor."


class ClientAhead(Conflict):
    """The client's database is at a version that was never published here."""

    code = "client_ahead"
    remedy = "Connect to the right service, and do not migrate."
