"""`registry.sum`: one line per migration of a folder, with the checksum of its bytes and its schema fingerprint.

It is committed together with the migrations. Its first line holds the newest version and its chain hash, so two
branches that both add a version always conflict in git, even where git could merge the other lines.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from freehold.migrate.types import GENESIS, Migration, chain, chains
from freehold.registry.files import FileFault, file_name, read_file
from freehold.registry.types import BadRegistry

SUM_FILE = "registry.sum"
_MAX_SUM_BYTES = 8 * 1_048_576
EDITED, UNSEALED, VANISHED = "FH023", "FH024", "FH025"
_HEAD = re.compile(r"head (?P<version>[0-9]{1,4}) chain:(?P<chain>[0-9a-f]{64}|-)")
_LINE = re.compile(
    r"(?P<file>[0-9]{4}_[a-z0-9_]+\.sql) sha256:(?P<checksum>[0-9a-f]{64}) "
    r"schema:(?P<schema>(?:[0-9]{1,2}-)?[0-9a-f]{64})"
)
_COMMENT = "# Written by `freehold registry seal`; a conflict here means that two branches took the same number.\n"


class SumLine(Struct, frozen=True):
    """`schema` is the fingerprint of a fresh database at this version, possibly in an older format."""

    file: str
    checksum: str
    schema: str

    @property
    def version(self) -> int:
        return int(self.file[:4])


class SumFile(Struct, frozen=True):
    """The parsed file, oldest version first."""

    migrations: tuple[SumLine, ...] = ()
    head_line: str = ""

    @property
    def by_version(self) -> dict[int, SumLine]:
        return {one.version: one for one in self.migrations}

    @property
    def text(self) -> str:
        lines = [f"{one.file} sha256:{one.checksum} schema:{one.schema}" for one in self.migrations]
        return "\n".join([self.head_line, _COMMENT + lines[0], *lines[1:], ""]) if lines else ""


def read_sum_file(folder: Path) -> SumFile | None:
    """Return the folder's sums, or None. Blocking. Raises `BadRegistry`, for example for git conflict markers."""
    try:
        return parse_sum_file(read_file(folder / SUM_FILE, _MAX_SUM_BYTES).decode())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadRegistry([f"{SUM_FILE}: cannot be read; restore it"]) from error


def parse_sum_file(text: str) -> SumFile:
    """Parse the text of a sum file. Raises `BadRegistry`."""
    found: list[SumLine] = []
    head = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(("<<<<<<<", "=======", ">>>>>>>", "|||||||")):
            raise BadRegistry(
                [
                    f"{SUM_FILE}: line {number}: two branches took the same number; keep the lines of the one that "
                    "was merged first, give the other's files the next free numbers, then `freehold registry seal`"
                ]
            )
        if not line.strip() or line.startswith("#"):
            continue
        if _HEAD.fullmatch(line) and not head:
            head = line
        elif match := _LINE.fullmatch(line):
            found.append(SumLine(match["file"], match["checksum"], match["schema"]))
        else:
            raise BadRegistry([f"{SUM_FILE}: line {number} cannot be understood; restore the file"])
    versions = [one.version for one in found]
    if versions != list(range(1, len(found) + 1)):
        raise BadRegistry([f"{SUM_FILE}: its versions are not 1, 2, 3 in order; restore the file"])
    return SumFile(tuple(found), head)


def sum_file_of(migrations: Sequence[Migration], schemas: Sequence[str]) -> SumFile:
    """Return the sums of these migrations; `schemas` holds the fingerprint at each version."""
    links = chains(migrations)
    return SumFile(
        tuple(SumLine(file_name(one), one.checksum, schema) for one, schema in zip(migrations, schemas, strict=True)),
        f"head {len(migrations)} chain:{links[-1] if links else '-'}",
    )


def sum_faults(sums: SumFile, migrations: Sequence[Migration]) -> list[FileFault]:
    """Return where the files differ from the sums. A file without a line is only a warning."""
    files = {one.version: one for one in migrations}
    found = []
    for line in sums.migrations:
        one = files.get(line.version)
        if one is None or file_name(one) != line.file:
            found.append(FileFault(line.file, f"it is in {SUM_FILE}, and there is no such file", VANISHED))
        elif one.checksum != line.checksum:
            found.append(FileFault(line.file, f"its bytes are not those that {SUM_FILE} names", EDITED))
    link = GENESIS
    for line in sums.migrations:
        link = chain(link, line.checksum)
    if not found and sums.head_line != f"head {len(sums.migrations)} chain:{link or '-'}":
        reason = "its first line does not follow from the others; run `freehold registry seal`"
        found.append(FileFault(SUM_FILE, reason, EDITED))
    found += [
        FileFault(file_name(one), f"{SUM_FILE} has no line for it", UNSEALED)
        for one in migrations
        if one.version not in sums.by_version
    ]
    return found


def unpublished_changes(sums: SumFile, base: SumFile) -> list[FileFault]:
    """Return the lines of `base` that `sums` changed or dropped, which rewrites history that others have."""
    mine = sums.by_version
    return [
        FileFault(line.file, f"{SUM_FILE} says other than before; restore the file and its line", EDITED)
        for line in base.migrations
        if mine.get(line.version) is None
        or (mine[line.version].file, mine[line.version].checksum) != (line.file, line.checksum)
    ]
