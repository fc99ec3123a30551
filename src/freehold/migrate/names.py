"""Names in SQL text."""

# The names of a row's number, unless a column has the name. Source: https://www.sqlite.org/rowidtable.html
ROWIDS = ("rowid", "_rowid_", "oid")

_FOLDED = {ord(letter): ord(letter) + 32 for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def folded(name: str) -> str:
    """The name as it is compared: only A to Z become lower case. To every engine Ä and ä are different names."""
    return name.lower() if name.isascii() else name.translate(_FOLDED)


def quoted(name: str) -> str:
    """The name as an identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"
