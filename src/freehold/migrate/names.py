"""Names in SQL text."""

# What the number of a row is called, unless a column has the name. Source: https://www.sqlite.org/rowidtable.html
ROWIDS = ("rowid", "_rowid_", "oid")


def quoted(name: str) -> str:
    """The name as an identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'
