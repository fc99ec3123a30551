"""Which PRAGMAs a tenant may use. Some act while the statement is only being prepared, so a description sets them,
too, and what they set is the connection's or the process's: a server's own rules for running SQL come too late.

Source: https://sqlite.org/pragma.html, "some pragmas run during the SQL compilation stage".
"""

from collections.abc import Sequence

from freehold.sql.tokens import Token

OF_A_TABLE = frozenset(
    {*("table_info", "table_xinfo", "table_list", "foreign_key_list"), *("index_list", "index_info", "index_xinfo")}
)
CHECKS = frozenset({"foreign_key_check", "integrity_check", "quick_check"})
# Their argument names what to look at, so it may be given.
ABOUT = OF_A_TABLE | CHECKS | {"collation_list", "function_list"}
# What may be read: it tells of the engine, and of this database alone.
READ = frozenset(
    {
        *("application_id", "auto_vacuum", "automatic_index", "busy_timeout", "cache_size", "cache_spill"),
        *("compile_options", "data_version", "encoding", "freelist_count", "journal_mode", "locking_mode"),
        *("max_page_count", "module_list", "page_count", "page_size", "pragma_list", "query_only"),
        *("read_uncommitted", "recursive_triggers", "reverse_unordered_selects", "schema_version"),
        *("secure_delete", "synchronous", "temp_store"),
    }
)
# Settings that may be changed too.
CHANGED = frozenset({"foreign_keys", "defer_foreign_keys", "user_version"})
# Anyone may switch these on: the first is on already, and the second lasts until the transaction ends, which it
# cannot do with rows that break a constraint. Switched off, it forgets which rows do: that is another matter.
SWITCHED_ON = frozenset({"foreign_keys", "defer_foreign_keys"})
# Whoever writes rows may set these: some apps count versions of their own in it.
OF_ROWS = frozenset({"user_version"})
# Of what SQLite takes for "on"; of numbers it looks at the last eight bits alone.
_ON = frozenset({"on", "yes", "true", "1"})
PRAGMAS = ABOUT | READ | CHANGED


def not_allowed(name: str) -> str:
    """The refusal of a PRAGMA that is none of these."""
    return f"PRAGMA {name} is not allowed; these are: {', '.join(sorted(PRAGMAS))}"


def is_harmless(name: str, argument: str) -> bool:
    """Whether any token may set this PRAGMA to that."""
    return name in SWITCHED_ON and argument.lower() in _ON


def is_switch(texts: Sequence[str]) -> bool:
    """Whether `foreign_keys = ON`, as tokens, is a setting that any token may make."""
    is_setting = (len(texts), texts[1:2]) == (3, ["="]) or [*texts[1:2], *texts[3:]] == ["(", ")"]
    return is_setting and is_harmless(texts[0], texts[2])


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
