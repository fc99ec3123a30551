"""`registry.sum`: one line for each migration of a folder, with the checksum of its bytes and of its schema.

It lies beside the migrations and is committed with them. Its first line names the newest version and its chain,
so two branches that both add a version always conflict in git, even where git could merge the rest.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from freehold.migrate.types import GENESIS, Migration, chain, chains
from freehold.registry.files import FileFault, file_name, read_file
from freehold.registry.types import BadRegistry

SEAL_FILE = "registry.sum"
_MAX_SEAL_BYTES = 8 * 1_048_576
EDITED, UNSEALED, VANISHED = "FH023", "FH024", "FH025"
_HEAD = re.compile(r"head (?P<version>[0-9]{1,4}) chain:(?P<chain>[0-9a-f]{64}|-)")
_LINE = re.compile(
    r"(?P<file>[0-9]{4}_[a-z0-9_]+\.sql) sha256:(?P<checksum>[0-9a-f]{64}) "
    r"schema:(?P<schema>(?:[0-9]{1,2}-)?[0-9a-f]{64})"
)
_COMMENT = (
    "# Written by `freehold registry seal`; a conflict here means that two branches took the same number.\n"
)


class SealedMigration(Struct, frozen=True):
    """`schema` is the fingerprint of what a fresh database holds at this version, perhaps an older form of it."""

    file: str
    checksum: str
    schema: str

    @property
    def version(self) -> int:
        return int(self.file[:4])


class Seal(Struct, frozen=True):
    """The file as it is read, oldest version first."""

    migrations: tuple[SealedMigration, ...] = ()
    head_line: str = ""

    @property
    def by_version(self) -> dict[int, SealedMigration]:
        return {one.version: one for one in self.migrations}

    @property
    def text(self) -> str:
        """The file's whole text."""
        lines = [f"{one.file} sha256:{one.checksum} schema:{one.schema}" for one in self.migrations]
        return "\n".join([self.head_line, _COMMENT + lines[0], *lines[1:], ""]) if lines else ""


def read_seal(folder: Path) -> Seal | None:
    """The folder's seal, or None if it has none. Blocking.

    Raises:
        BadRegistry: it cannot be read, e.g. because it holds the marks of a git conflict.
    """
    try:
        return parse_seal(read_file(folder / SEAL_FILE, _MAX_SEAL_BYTES).decode())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadRegistry([f"{SEAL_FILE}: cannot be read; restore it"]) from error


def parse_seal(text: str) -> Seal:
    """The seal in this text. Raises `BadRegistry` as `read_seal`."""
    found: list[SealedMigration] = []
    head = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(("<<<<<<<", "=======", ">>>>>>>", "|||||||")):
            raise BadRegistry(
                [
                    f"{SEAL_FILE}: line {number}: two branches took the same number; keep the lines of the one that "
                    "was merged first, give the other's files the next free numbers, then `freehold registry seal`"
                ]
            )
        if not line.strip() or line.startswith("#"):
            continue
        if _HEAD.fullmatch(line) and not head:
            head = line
        elif match := _LINE.fullmatch(line):
            found.append(SealedMigration(match["file"], match["checksum"], match["schema"]))
        else:
            raise BadRegistry([f"{SEAL_FILE}: line {number} cannot be understood; restore the file"])
    versions = [one.version for one in found]
    if versions != list(range(1, len(found) + 1)):
        raise BadRegistry([f"{SEAL_FILE}: its versions are not 1, 2, 3 in order; restore the file"])
    return Seal(tuple(found), head)


def sealed(migrations: Sequence[Migration], schemas: Sequence[str]) -> Seal:
    """The seal of these migrations; `schemas` are the fingerprints at each version."""
    links = chains(migrations)
    return Seal(
        tuple(
            SealedMigration(file_name(one), one.checksum, schema)
            for one, schema in zip(migrations, schemas, strict=True)
        ),
        f"head {len(migrations)} chain:{links[-1] if links else '-'}",
    )


def seal_faults(seal: Seal, migrations: Sequence[Migration]) -> list[FileFault]:
    """Where the files are not what the seal says. A file without a line is a warning only."""
    files = {one.version: one for one in migrations}
    found = []
    for line in seal.migrations:
        one = files.get(line.version)
        if one is None or file_name(one) != line.file:
            found.append(FileFault(line.file, f"it is in {SEAL_FILE}, and there is no such file", VANISHED))
        elif one.checksum != line.checksum:
            found.append(FileFault(line.file, f"its bytes are not those that {SEAL_FILE} names", EDITED))
    if not found and (head := _head_fault(seal)):
        found.append(head)
    found += [
        FileFault(file_name(one), f"{SEAL_FILE} has no line for it", UNSEALED)
        for one in migrations
        if one.version not in seal.by_version
    ]
    return found


def unpublished_changes(seal: Seal, base: Seal) -> list[FileFault]:
    """Lines of an earlier seal that this one changed or lost: history that others have was rewritten."""
    mine = seal.by_version
    return [
        FileFault(line.file, f"{SEAL_FILE} says other than before; restore the file and its line", EDITED)
        for line in base.migrations
        if mine.get(line.version) is None
        or (mine[line.version].file, mine[line.version].checksum) != (line.file, line.checksum)
    ]


def _head_fault(seal: Seal) -> FileFault | None:
    link = GENESIS
    for line in seal.migrations:
        link = chain(link, line.checksum)
    if seal.head_line == f"head {len(seal.migrations)} chain:{link or '-'}":
        return None
    reason = "its first line does not follow from the others; run `freehold registry seal`"
    return FileFault(SEAL_FILE, reason, EDITED)
