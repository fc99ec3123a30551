"""What the comments at the top of a migration say: lines of the form `-- key: value`."""

import re

# Known keys only: other comments are prose, which may hold a colon too.
_DIRECTIVE = re.compile(r"--[ \t]*(description|foreign[ _-]?keys)[ \t]*:[ \t]*(.*)", re.IGNORECASE)


def front_matter(sql: str) -> dict[str, str]:
    """`description` and `foreign_keys` as the leading comments give them; the first of a repeated key counts."""
    pairs = [pair for line in leading_comments(sql) if (pair := directive(line))]
    return dict(reversed(pairs))


def leading_comments(sql: str) -> list[str]:
    """The `--` lines before anything else; blank lines may be between."""
    found = []
    for line in sql.split("\n"):
        stripped = line.strip()
        if stripped and not stripped.startswith("--"):
            break
        if stripped:
            found.append(stripped)
    return found


def directive(line: str) -> tuple[str, str] | None:
    """Key and value of a line that sets one of the known keys, else None."""
    match = _DIRECTIVE.fullmatch(line.strip())
    if match is None:
        return None
    if match[1].lower() == "description":
        return "description", match[2].strip()
    return "foreign_keys", match[2].strip().lower()
