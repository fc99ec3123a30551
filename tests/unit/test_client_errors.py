"""Whatever the SDK raises can be caught by a name that it exports."""

import ast
import inspect
import re
from pathlib import Path

from testbed.servers import ROOT

import freehold.client
from freehold.client import errors
from freehold.errors import FreeholdError
from freehold.migrate import apply as applying
from freehold.migrate import failures, ledger

_RAISING = [
    *sorted((ROOT / "src/freehold/client").glob("*.py")),
    *(Path(inspect.getfile(module)) for module in (applying, failures, ledger)),
]


def raised_in(path: Path) -> set[str]:
    """The names of the classes that a file raises or returns as errors."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            found.add(node.exc.func.id)
    return {name for name in found if name[0].isupper()}  # the others are functions that make one of these


def test_every_error_that_is_raised_is_exported() -> None:
    raised = set[str]().union(*map(raised_in, _RAISING))
    assert len(raised) >= 8
    assert raised <= set(errors.__all__)
    assert set(errors.__all__) <= set(freehold.client.__all__)


def test_the_tree_is_the_classes_as_they_are() -> None:
    """Each name under its parent, all of them, with the branches of the drawing."""
    drawing = (errors.__doc__ or "").partition("\n\n")[2]
    lines = re.findall(r"^([│├└─ ]*)(\w+)", drawing, re.MULTILINE)
    path: list[str] = []
    drawn = {}
    for branches, name in lines:
        depth = len(branches) // 4
        path = [*path[:depth], name]
        drawn[name] = path[-2] if depth else None
    assert set(drawn) == set(errors.__all__)
    for name, parent in drawn.items():
        kind = getattr(errors, name)
        above = next((base.__name__ for base in kind.__mro__[1:] if base.__name__ in drawn), None)
        assert above == parent, name
        assert issubclass(kind, FreeholdError)
