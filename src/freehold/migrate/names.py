"""Names in SQL text."""


def quoted(name: str) -> str:
    """The name as an identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'
