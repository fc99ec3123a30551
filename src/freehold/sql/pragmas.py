"""Which PRAGMAs a tenant may use. Some act while the statement is merely being prepared, so even a `describe` request
sets them, and the setting is the connection's or the process's: a server's own rules for running SQL come too late.

Source: https://sqlite.org/pragma.html, "some pragmas run during the SQL compilation stage".
"""

from collections.abc import Sequence

from freehold.sql.tokens import Token

OF_A_TABLE = frozenset(
    {*("table_info", "table_xinfo", "table_list", "foreign_key_list"), *("index_list", "index_info", "index_xinfo")}
)
CHECKS = frozenset({"foreign_key_check", "integrity_check", "quick_check"})
# Their argument names what to look at and sets nothing, so it is allowed.
ABOUT = OF_A_TABLE | CHECKS | {"collation_list", "function_list"}
# These may be read: they reveal facts about the engine and this database only.
READ = frozenset(
    {
        *("application_id", "auto_vacuum", "automatic_index", "busy_timeout", "cache_size", "cache_spill"),
        *("compile_options", "data_version", "encoding", "freelist_count", "journal_mode", "locking_mode"),
        *("max_page_count", "module_list", "page_count", "page_size", "pragma_list", "query_only"),
        *("read_uncommitted", "recursive_triggers", "reverse_unordered_selects", "schema_version"),
        *("secure_delete", "synchronous", "temp_store"),
    }
)
# Settings that may also be changed.
CHANGED = frozenset({"foreign_keys", "defer_foreign_keys", "user_version"})
# Any token may switch these on: the first is on already, and the second lasts until the transaction ends, which
# cannot commit rows that break a constraint. Switching it off forgets which rows do, so that is not included.
SWITCHED_ON = frozenset({"foreign_keys", "defer_foreign_keys"})
# Any token that may write rows may set these: some apps keep a version number of their own in it.
OF_ROWS = frozenset({"user_version"})
# Some of the values that mean "on" to SQLite; of a number it looks at the last eight bits only.
_ON = frozenset({"on", "yes", "true", "1"})
PRAGMAS = ABOUT | READ | CHANGED


def not_allowed(name: str) -> str:
    """The message that refuses a PRAGMA not listed here."""
    return f"PRAGMA {name} is not allowed; these are: {', '.join(sorted(PRAGMAS))}"


def is_harmless(name: str, argument: str) -> bool:
    """Whether any token may set this PRAGMA to this value."""
    return name in SWITCHED_ON and argument.lower() in _ON


def is_switch(texts: Sequence[str]) -> bool:
    """Whether `foreign_keys = ON`, as tokens, is a setting that any token may make."""
    is_setting = (len(texts), texts[1:2]) == (3, ["="]) or [*texts[1:2], *texts[3:]] == ["(", ")"]
    return is_setting and is_harmless(texts[0], texts[2])


def pragma_fault(words: Sequence[Token]) -> str | None:
    """Why a PRAGMA is refused, or None. `words` are all tokens after PRAGMA, to the statement's end."""
    texts = [word.text.lower() for word in words]
    if texts[1:2] == ["."]:
        if texts[0] != "main":
            return not_allowed(".".join(texts[:3:2]))
        del texts[:2]
    name = texts[0] if texts else ""
    if name in READ and len(texts) > 1:
        return f"PRAGMA {name} can be read, not set"
    return None if name in PRAGMAS else not_allowed(name)
