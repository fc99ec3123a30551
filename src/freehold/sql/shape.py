"""What a statement's text refers to: tables read, tables written, objects created; and how its queries nest.

One pass over the tokens, without a grammar. In case of doubt a name counts as a table: too many names make a statement
look larger than it is, too few would hide one.
"""

from collections import Counter
from dataclasses import dataclass, field

from msgspec import Struct

from freehold.sql.tokens import Kind, counted, tokens

# Words that cannot be names. Most of SQLite's keywords can.
_RESERVED = frozenset({
    "add", "all", "alter", "and", "as", "autoincrement", "between", "case", "check", "collate", "commit",
    "constraint", "create", "default", "deferrable", "delete", "distinct", "drop", "else", "end", "escape",
    "except", "exists", "foreign", "from", "group", "having", "if", "in", "index", "insert", "intersect",
    "into", "is", "isnull", "join", "limit", "not", "nothing", "notnull", "null", "on", "or", "order",
    "primary", "references", "returning", "select", "set", "table", "then", "to", "transaction", "union",
    "unique", "update", "using", "values", "when", "where",
})  # fmt: skip
_ENDS_TABLES = frozenset(
    {
        *("where", "group", "order", "having", "limit", "set", "values", "select", "returning"),
        *("union", "except", "intersect"),
    }
)
_NO_VERBS = frozenset({"explain", "query", "plan"})
_CONFLICTS = frozenset({"rollback", "abort", "replace", "fail", "ignore"})


@dataclass(slots=True, eq=False)
class Query:
    """One SELECT and its parts. `refs` are the names of tables, `parts` the queries inside it.

    `size` is the number of its tokens, `out_size` of those in its columns. `out_repeats` and `repeats` are how often
    the most frequent name occurs in the columns, and anywhere: an engine may copy what it stands for that many times.
    """

    refs: list[str] = field(default_factory=list)
    parts: list["Query"] = field(default_factory=list)
    size: int = 0
    out_size: int = 0
    out_repeats: int = 1
    repeats: int = 1
    _out: Counter[str] = field(default_factory=Counter)
    _all: Counter[str] = field(default_factory=Counter)

    def count(self, name: str, *, is_column: bool) -> None:
        """Count a name that may be a column's; `is_column` if it occurs in the result columns."""
        self._all[name] += 1
        if is_column:
            self._out[name] += 1

    def names(self) -> dict[str, int]:
        """How often each name that may be a column's occurs in the open arm."""
        return dict(self._all)

    def close(self) -> None:
        """End an arm of a compound query, or all of it."""
        if self._all:
            self.repeats = max(self.repeats, *self._all.values())
            self._all.clear()
        if self._out:
            self.out_repeats = max(self.out_repeats, *self._out.values())
            self._out.clear()


class Made(Struct, frozen=True):
    """An object that the text creates. `words` are a virtual table's module, or the strings in an index."""

    kind: str  # table, view, index, trigger, virtual
    name: str
    words: tuple[str, ...] = ()


class Shape(Struct, frozen=True):
    """What one statement refers to; all names in lower case.

    `queries` are its outermost ones (a trigger has several), `named` the bodies of its common table expressions by
    name. `reads` are the tables and functions read, `writes` the tables written, altered or dropped. `made` is the
    object that it creates; `verb` is its first word. `generated` are the generated columns that it adds, each with how
    often each name occurs in its expression.
    """

    queries: tuple[Query, ...]
    named: dict[str, list[Query]]
    reads: frozenset[str]
    writes: frozenset[str]
    made: Made | None
    verb: str
    depth: int
    generated: dict[str, dict[str, int]] = {}


@dataclass(slots=True)
class _Frame:
    """The state inside one pair of parentheses."""

    query: Query
    in_from: bool = False
    in_columns: bool = False
    is_query: bool = False
    generates: str = ""  # the generated column whose expression this is
    name: str = ""  # the last name, which may be that of a common table expression


class Reader:
    """Takes tokens in order; `shapes` returns one shape for each statement."""

    def __init__(self) -> None:
        self._shapes: list[Shape] = []
        self._begin()

    def _begin(self) -> None:
        self._queries = [Query()]
        self._named: dict[str, list[Query]] = {}
        self._reads: set[str] = set()
        self._writes: set[str] = set()
        self._depth = 0
        self._frames = [_Frame(self._queries[0])]
        self._verb = ""
        self._kind = ""  # the kind of object that CREATE, ALTER or DROP names
        self._new: str | None = None
        self._words: list[str] = []
        self._column = ""  # the column being defined
        self._generated: dict[str, dict[str, int]] = {}
        self._at_start = True
        self._before = ""  # the previous token, "name" for a quoted name
        self._before_that = ""
        self._opened_by = ""
        # A name is judged when the token after it is seen.
        self._held: tuple[str, bool, str] | None = None  # text, may be a column, role

    def take(self, kind: Kind, text: str) -> None:
        """Take the next token."""
        if self._held is not None:
            self._settle(text if kind is Kind.OTHER else "")
        frame = self._frames[-1]
        frame.query.size += 1
        if frame.in_columns:
            frame.query.out_size += 1
        if kind is Kind.OTHER:
            self._punctuation(text)
        elif kind is Kind.WORD and text in _RESERVED:
            self._keyword(text)
        elif kind is not Kind.VARIABLE:
            self._name(kind, text)
        else:
            self._step("value")

    def _step(self, word: str) -> None:
        self._before_that, self._before = self._before, word

    def _punctuation(self, text: str) -> None:
        frame = self._frames[-1]
        if text == "(":
            tables = self._before in {"from", "join"} or (frame.in_from and self._before in {",", "("})
            inner = _Frame(frame.query, in_from=tables, in_columns=frame.in_columns)
            # The body of a common table expression follows `AS`; its name precedes it.
            if self._before == "as" or (self._before == "materialized" and self._before_that in {"as", "not"}):
                inner.name = frame.name
                inner.query = Query()
                inner.in_columns = False
                self._named.setdefault(frame.name, []).append(inner.query)
                inner.is_query = True
                inner.generates = self._column
            self._frames.append(inner)
            self._depth = max(self._depth, len(self._frames))
        elif text == ")" and len(self._frames) > 1:
            closed = self._frames.pop()
            if closed.generates:
                self._generated[closed.generates] = closed.query.names()
            if closed.query is not self._frames[-1].query:
                closed.query.close()
        elif text == ";":
            # Only an END after a semicolon ends a trigger; others belong to CASE.
            is_over = (self._before_that, self._before) == (";", "end")
            if self._kind != "trigger" or self._verb != "create" or is_over:
                self._finish()
                return
            # The next statement of the trigger's body.
            self._close_all()
            self._queries.append(Query())
            self._frames = [_Frame(self._queries[-1])]
        self._step(text)

    def _keyword(self, text: str) -> None:
        frame = self._frames[-1]
        if self._at_start:
            self._start(text)
        elif self._verb in {"create", "alter", "drop"} and not self._kind and text in {"table", "index"}:
            self._kind = "virtual" if self._before == "virtual" else text
        if text in {"select", "values"}:
            self._open_query(frame)
            frame.query.close()
            frame.in_columns = text == "select"
        elif text == "from" and self._before == "distinct":
            pass  # IS DISTINCT FROM
        elif text in {"from", "join"}:
            frame.in_columns = False
            frame.in_from = True
        elif text in _ENDS_TABLES:
            frame.in_from = False
        self._step(text)

    def _start(self, word: str) -> None:
        """Note the first word of a statement; EXPLAIN QUERY PLAN does not count."""
        if word not in _NO_VERBS:
            self._at_start = False
            self._verb = word

    def _open_query(self, frame: _Frame) -> None:
        """Start a query of its own if the word follows an opening parenthesis."""
        if self._before == "(" and not frame.is_query:
            outer, frame.query = frame.query, Query()
            outer.parts.append(frame.query)
            frame.is_query = True

    def _name(self, kind: Kind, text: str) -> None:
        name = text if kind is Kind.WORD else text.lower()
        frame = self._frames[-1]
        before = self._before
        if kind is Kind.WORD and self._at_start:
            self._start(name)
            self._step(name)
            return
        if kind is Kind.WORD and name == "with":
            self._open_query(frame)
        if self._verb in {"create", "drop"} and not self._kind and name in {"view", "trigger"} and kind is Kind.WORD:
            self._kind = name
            self._step(name)
            return
        if kind is Kind.STRING or (self._kind == "virtual" and before == "using"):
            self._words.append(text)
        if self._verb == "pragma":
            self._reads.add(f"pragma_{name}")
        if self._kind == "table" and self._defines(before):
            self._column = name
        role = self._role(frame, before)
        if kind is Kind.STRING and not role:
            self._step("value")
            return
        is_number = kind is Kind.WORD and name[0].isdigit()
        if not is_number:
            if name != "materialized" or before not in {"as", "not"}:
                frame.name = name
            self._held = (name, frame.in_columns, role)
        # A quoted word is never a keyword; a bare one may be.
        self._step(name if kind is Kind.WORD and not is_number else "name")

    def _defines(self, before: str) -> bool:
        """Whether a name after this token is that of a column being defined."""
        if self._verb == "create":
            return len(self._frames) == 2 and before in {"(", ","}
        return self._verb == "alter" and before in {"add", "column"}

    def _role(self, frame: _Frame, before: str) -> str:  # noqa: PLR0911 - one for each place of a name
        """The role of a name here: a table that is read, written or changed, a new object, or none of these."""
        if before == "as":
            return "alias"
        if before == "from":
            return "write" if self._before_that == "delete" else "read"
        if before in {"join", "in"} or (frame.in_from and before in {",", "("}):
            return "read"
        if before in {"into", "update"} or (before in _CONFLICTS and self._before_that == "or"):
            return "write"
        if before == "." and self._opened_by:
            role, self._opened_by = self._opened_by, ""
            return role
        if self._verb in {"create", "alter", "drop"}:
            if before in {"table", "index", "view", "trigger"} or (
                before == "exists" and self._before_that in {"if", "not"}
            ):
                if self._verb == "create" and self._new is None:
                    return "new"
                return "change" if self._kind in {"table", "virtual"} else ""
            if (before == "to" and self._verb == "alter") or (before == "on" and self._kind in {"index", "trigger"}):
                return "change"
        return ""

    def _settle(self, following: str) -> None:
        held, self._held = self._held, None
        assert held is not None
        name, is_column, role = held
        frame = self._frames[-1]
        if following == ".":  # a schema's name, or a table's before a column
            self._opened_by = role
            return
        if role == "read":
            frame.query.refs.append(name)
            self._reads.add(name)
        elif role == "write":
            frame.query.refs.append(name)
            self._writes.add(name)
        elif role == "change":
            self._writes.add(name)
        elif role == "new":
            self._new = name
        elif following == "(":
            self._reads.add(name)  # a function's name: the rules know some of them
        elif not role:
            frame.query.count(name, is_column=is_column)

    def _close_all(self) -> None:
        for frame in self._frames:
            frame.query.close()

    def _finish(self) -> None:
        self._close_all()
        if not self._at_start:
            made = None
            if self._verb == "create" and self._new is not None:
                made = Made(self._kind, self._new, tuple(self._words))
            self._shapes.append(
                Shape(
                    tuple(self._queries),
                    self._named,
                    frozenset(self._reads),
                    frozenset(self._writes),
                    made,
                    self._verb,
                    self._depth,
                    self._generated,
                )
            )
        self._begin()

    def shapes(self) -> tuple[Shape, ...]:
        """The shapes of all statements taken."""
        if self._held is not None:
            self._settle("")
        self._finish()
        return tuple(self._shapes)


def shapes_of(sql: str) -> tuple[Shape, ...]:
    """The shapes of a text's statements. Raises `TooManyTokens`."""
    reader = Reader()
    for kind, text in counted(tokens(sql)):
        reader.take(kind, text)
    return reader.shapes()
