"""The bytes of a database without tables."""

from freehold.providers.sqlite.connection import PAGE_BYTES


def _empty_database() -> bytes:
    """One page: the header of a database without tables, in write-ahead log mode, and an empty schema table.

    Source: https://www.sqlite.org/fileformat2.html, sections 1.3 and 1.6.
    """
    header = bytearray(b"SQLite format 3\0")
    header += PAGE_BYTES.to_bytes(2, "big")
    header += bytes([2, 2, 0, 64, 32, 32])  # write-ahead log for writing and reading; fixed payload fractions
    header += (1).to_bytes(4, "big") * 2  # change counter; size in pages
    header += bytes(8)  # no free pages
    header += bytes(4)  # schema cookie
    header += (4).to_bytes(4, "big")  # schema format
    header += bytes(8)  # default cache size; no automatic vacuum
    header += (1).to_bytes(4, "big")  # UTF-8
    header += bytes(92 - len(header))
    header += (1).to_bytes(4, "big")  # the change counter that the version below belongs to
    header += (3045001).to_bytes(4, "big")
    empty_leaf = bytes([13, 0, 0, 0, 0]) + PAGE_BYTES.to_bytes(2, "big") + bytes(1)
    page = bytes(header) + empty_leaf
    return page + bytes(PAGE_BYTES - len(page))


EMPTY_DATABASE = _empty_database()
