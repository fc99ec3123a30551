"""What the comments at the top of a migration say: lines of the form `-- key: value`."""

import re

# Known keys only: other comments are prose, which may hold a colon too.
_DIRECTIVE = re.compile(r"--[ \t]*(description|foreign[ _-]?keys)[ \t]*:[ \t]*(.*)", re.IGNORECASE)
# How it is released. No applier refuses a migration for these, so that old prose cannot stop one; lint does.
_RELEASE = re.compile(r"--[ \t]*(phase|min[ _-]?app|allow)[ \t]*:[ \t]*(.*)", re.IGNORECASE)


def front_matter(sql: str) -> dict[str, str]:
    """`description` and `foreign_keys` as the leading comments give them; the first of a repeated key counts."""
    pairs = [pair for line in leading_comments(sql) if (pair := directive(line))]
    return dict(reversed(pairs))


def release_lines(sql: str) -> list[tuple[str, str]]:
    """`phase`, `min_app` and `allow` as the leading comments give them, in their order; nothing is checked."""
    found = []
    for line in leading_comments(sql):
        if match := _RELEASE.fullmatch(line):
            key = match[1].lower().replace(" ", "_").replace("-", "_")
            found.append(("min_app" if key.startswith("min") else key, match[2].strip()))
    return found


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
