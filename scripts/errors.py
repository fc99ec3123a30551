#!/usr/bin/env python3
"""Write docs/errors.md: every error that someone may receive, from what its class declares.

Usage: python -m scripts.errors

A class with a code of its own is on the page; the first paragraph of its docstring is what it means.

Example: make errors
"""

import importlib
import inspect
import pkgutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import freehold
from freehold.client import errors as sdk
from freehold.errors import FreeholdError
from freehold.http.auth.replies import auth_status_of
from freehold.http.databases.gateway import database_status_of
from freehold.http.problems import FRAMEWORK_CODES, status_of

PAGE = Path(__file__).resolve().parent.parent / "docs/errors.md"

_BEGINNING = """\
# Errors

<!-- Written by `make errors` from the classes of the errors: change those. -->

Outside `/api/auth` every error is [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details:

```json
{"type": "about:blank", "title": "Conflict", "status": 409, "code": "published_migration_changed", "detail": "…"}
```

`code` is for programs and never changes its meaning; `detail` says what happened and what to do. If
there may be several faults, `faults` lists each. A 5xx has a `request_id`, a 503 a `Retry-After`. Inside `/api/auth`
errors are better-auth's `{code, message}`, and at `/db/<name>/` Hrana's; both are described below.

"""

_AUTH = """
## Inside `/api/auth`

Errors here have better-auth's form: `{"code", "message"}`, with the codes that its clients know. A few have only a
message. If something cannot be done right now, the response is a 503 with the code from the table above, in capitals.
A failed sign-in with a provider leads back to the app, which gets the reason in `?error=`:
[social-sign-in.md](social-sign-in.md).

"""

_DATABASES = """
## At `/db/<name>/`

Here a call that fails as a whole returns `{"message", "code"}` with the code in capitals, as official clients expect.
A statement that fails is an error of the same form inside a response with status 200, and the rest of the call still
runs:

"""

# SQLite's, Hrana's and sqld's own, which no class of ours declares.
_DATABASE_ROWS = (
    ("`SQL_PARSE_ERROR`, `SQL_NO_STATEMENT`, `SQL_MANY_STATEMENTS`", "The text is not exactly one SQL statement."),
    ("`ARGS_INVALID`, `ARGS_BOTH_POSITIONAL_AND_NAMED`", "The arguments do not match the parameters."),
    (
        "`SQLITE_CONSTRAINT`, `SQLITE_BUSY`, `SQLITE_READONLY`, `SQLITE_ERROR`, …",
        "SQLite's primary result code, with its message.",
    ),
    (
        "`DATABASE_DAMAGED`",
        "Status 503. The database cannot be opened until its operator repairs it; retry only after that.",
    ),
    (
        "`BLOCKED`",
        "The database is suspended: nothing can be read or written; the message has the reason where the "
        "provider keeps one.",
    ),
    ("`SQLITE_AUTH`", "The statement is not allowed, wherever the database is; the message says what is."),
    (
        "`PROFILE_NEEDED`",
        "The token's profile is too narrow for the statement: the message names one that suffices. A "
        "batch or cursor fails as a whole, before any of it runs; a batch of version 1 fails with 403.",
    ),
    ("`SQLITE_FULL`", "The database is at its size limit, or the disk is full."),
    ("`SQLITE_NOMEM`, `SQLITE_TOOBIG`", "It needs more memory than is available, or a value is too large."),
    ("`QUERY_TIMEOUT`", "The statement, or the whole call, took too long and was stopped."),
    ("`RESPONSE_TOO_LARGE`", "The result would exceed its limit: ask for fewer rows. Nothing was changed."),
    ("`INVALID_UTF8`", "A text in the result is not UTF-8: read it as a blob."),
    ("`SQL_STORE_TOO_MANY`, `SQL_STORE_TOO_LARGE`", "The stream cannot store more SQL texts."),
)

_COMMANDS = """
## On the command line

Commands print the message without the code, and exit with 1 (negative result, or some failed), 2 (wrong usage), 3
(invalid settings) or 4 (unreachable). With `--json`, commands that take several tenants print the code with the
message. In addition to the first table there are:

"""

_SDK = """
## In the SDK

`freehold.client` raises and exports these, which are all subclasses of `FreeholdError`. If the error is the service's
response, `error.code` is the service's code.

"""


def every_error() -> list[type[FreeholdError]]:
    """The classes of all errors of the package, by code."""
    for module in pkgutil.walk_packages(freehold.__path__, "freehold."):
        importlib.import_module(module.name)
    return sorted(_below(FreeholdError), key=lambda kind: (kind.code, kind.__name__))


def page() -> str:
    """The text of docs/errors.md."""
    kinds = every_error()
    coded = [kind for kind in kinds if "code" in vars(kind)]
    return "".join(
        [
            _BEGINNING,
            *_table(("code", "status"), _api(kind for kind in coded if kind.where == "http")),
            _AUTH,
            *_table(("code", "status"), _auth(kind for kind in kinds if "better_auth" in vars(kind))),
            _DATABASES,
            *_table(("code",), _DATABASE_ROWS, ("what it means",)),
            _COMMANDS,
            *_table(("code",), ((f"`{kind.code}`", *_said(kind)) for kind in coded if kind.where == "cli")),
            _SDK,
            *_table(
                ("class", "code"),
                (_of_sdk(getattr(sdk, name)) for name in sorted(sdk.__all__) if name != FreeholdError.__name__),
            ),
        ]
    )


def _below(kind: type[FreeholdError]) -> set[type[FreeholdError]]:
    found = {below for each in kind.__subclasses__() for below in (each, *_below(each))}
    return {each for each in found if each.__module__.startswith("freehold.")}


def _table(
    columns: tuple[str, ...], rows: Iterable[tuple[str, ...]], rest: tuple[str, ...] = ("what it means", "what to do")
) -> Iterator[str]:
    names = (*columns, *rest)
    yield f"| {' | '.join(names)} |\n|{'---|' * len(names)}\n"
    for row in rows:
        yield f"| {' | '.join(row)} |\n"


def _api(kinds: Iterable[type[FreeholdError]]) -> Iterator[tuple[str, ...]]:
    for kind in kinds:
        found = {status_of(kind), database_status_of(kind)}
        found |= {status for status, code in FRAMEWORK_CODES.items() if code == kind.code}
        yield f"`{kind.code}`", _numbers(found), *_said(kind)


def _auth(kinds: Iterable[type[FreeholdError]]) -> Iterator[tuple[str, ...]]:
    """A row for each code, which several errors may have; those without one are known by their message."""
    by_code = defaultdict[str, list[type[FreeholdError]]](list)
    for kind in kinds:
        words = kind.better_auth
        message = kind.message if words.message is None else words.message
        by_code[words.code or f"none: {message}"].append(kind)
    for code, those in sorted(by_code.items()):
        means, remedies = zip(*map(_said, those), strict=True)
        statuses = _numbers(map(auth_status_of, those))
        shown = f"`{code}`" if code.isupper() else code.removesuffix(": ")
        yield shown, statuses, " Or: ".join(dict.fromkeys(means)), " Or: ".join(dict.fromkeys(remedies))


def _of_sdk(kind: type[FreeholdError]) -> tuple[str, ...]:
    return f"`{kind.__name__}`", f"`{kind.code}`", *_said(kind)


def _said(kind: type[FreeholdError]) -> tuple[str, str]:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split()), vars(kind).get("remedy", "")


def _numbers(found: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(found))))


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        PAGE.write_text(page())
