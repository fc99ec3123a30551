"""Names in SQL text."""

# What the number of a row is called, unless a column has the name. Source: https://www.sqlite.org/rowidtable.html
ROWIDS = ("rowid", "_rowid_", "oid")

_FOLDED = {ord(letter): ord(letter) + 32 for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def folded(name: str) -> str:
    """The name as it is compared: A to Z in lower case, and nothing else. To every engine Ä and ä are two names."""
    return name.lower() if name.isascii() else name.translate(_FOLDED)


def quoted(name: str) -> str:
    """The name as an identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'
