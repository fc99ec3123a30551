"""Runs what is tried with a client, and prints one JSON object: {what: null, or why it does not work}."""

import json
import os
from collections.abc import Callable, Mapping

URL = os.environ.get("URL", "")
TOKEN = os.environ.get("TOKEN", "")
REFUSED = "SELECT readfile('/etc/passwd')"
MISSING = "SELECT * FROM no_such_table"


def play(parts: Mapping[str, Callable[[], None]]) -> None:
    """Try each, whatever became of those before."""
    report: dict[str, str | None] = {}
    for what, work in parts.items():
        try:
            work()
            report[what] = None
        except BaseException as error:  # pyo3's panics are no Exception
            report[what] = f"{type(error).__name__}: {error}"
    print(json.dumps(report), flush=True)


def failure(work: Callable[[], object]) -> str:
    """The text of the error that it ends with; it must end with one."""
    try:
        work()
    except Exception as error:
        return str(error)
    raise AssertionError("it ran, and should not have")


def is_told(run: Callable[[str], object]) -> None:
    """A mistake and a refusal are told with their reason, and what comes next runs."""
    assert "no such table: no_such_table" in failure(lambda: run(MISSING))
    assert "`readfile` is not allowed" in failure(lambda: run(REFUSED))
    run("SELECT 1")
