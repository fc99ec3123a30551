"""Which PRAGMAs a tenant may use. Some act while the statement is only being prepared, so a description sets them,
too, and what they set is the connection's or the process's: a server's own rules for running SQL come too late.

Source: https://sqlite.org/pragma.html, "some pragmas run during the SQL compilation stage".
"""

from collections.abc import Sequence

from freehold.libsql.tokens import Token

# Their argument names what to look at, so it may be given.
ABOUT = frozenset(
    {
        *("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"),
        *("foreign_key_list", "foreign_key_check", "integrity_check", "quick_check"),
        *("collation_list", "function_list"),
    }
)
# Settings that may be read.
READ = frozenset(
    {
        *("application_id", "data_version", "encoding", "freelist_count", "journal_mode", "page_count"),
        *("page_size", "schema_version"),
    }
)
# Settings that may be changed too.
CHANGED = frozenset({"foreign_keys", "defer_foreign_keys", "user_version"})
PRAGMAS = ABOUT | READ | CHANGED


def not_allowed(name: str) -> str:
    """The refusal of a PRAGMA that is none of these."""
    return f"PRAGMA {name} is not allowed; these are: {', '.join(sorted(PRAGMAS))}"


def pragma_fault(words: Sequence[Token]) -> str | None:
    """Why `PRAGMA words` is refused, or None. `words` are all tokens after the first, to the statement's end."""
    texts = [word.text.lower() for word in words]
    if texts[1:2] == ["."]:
        if texts[0] != "main":
            return not_allowed(".".join(texts[:3:2]))
        del texts[:2]
    name = texts[0] if texts else ""
    if name in READ and len(texts) > 1:
        return f"PRAGMA {name} can be read, not set"
    return None if name in PRAGMAS else not_allowed(name)
