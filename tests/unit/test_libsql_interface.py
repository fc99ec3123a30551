"""The driver keeps libsql-client's interface: code written for one works with the other."""

import inspect
import pickle

import libsql_client
import pytest

from freehold.libsql import client as ours

PAIRS = [
    (ours.Client, libsql_client.Client),
    (ours.Transaction, libsql_client.Transaction),
    (ours.ResultSet, libsql_client.ResultSet),
    (ours.Row, libsql_client.Row),
    (ours.Statement, libsql_client.Statement),
]


@pytest.mark.parametrize(("mine", "theirs"), PAIRS, ids=lambda kind: kind.__name__)
def test_every_public_name_of_theirs_is_ours_and_takes_the_same_arguments(mine: type, theirs: type) -> None:
    for name, their in inspect.getmembers(theirs):
        if name.startswith("_") and name not in {"__init__", "_asdict", "_fields", "__aenter__", "__enter__"}:
            continue
        assert hasattr(mine, name), f"{mine.__name__}.{name} is missing"
        our = getattr(mine, name)
        assert isinstance(our, property) == isinstance(their, property)
        assert inspect.iscoroutinefunction(our) == inspect.iscoroutinefunction(their)
        if inspect.isfunction(their):
            _must_accept(our, their)


def test_a_client_is_made_in_the_same_way() -> None:
    _must_accept(ours.create_client, libsql_client.create_client)


def test_an_error_has_the_same_shape_and_survives_pickling() -> None:
    mine, theirs = (
        ours.LibsqlError("no such table: t", "SQLITE_UNKNOWN"),
        libsql_client.LibsqlError("no such table: t", "SQLITE_UNKNOWN"),
    )
    assert isinstance(mine, RuntimeError)
    assert (str(mine), mine.code, mine.explanation) == (str(theirs), theirs.code, theirs.explanation)
    again = pickle.loads(pickle.dumps(mine))
    assert (str(again), again.code) == (str(mine), mine.code)


def test_a_row_is_read_in_the_same_ways() -> None:
    at, values = {"a": 0, "b": 1}, (1, "x")
    mine, theirs = ours.Row(at, values), libsql_client.Row(at, values)
    for row in (mine, theirs):
        assert (row[0], row["b"], row[-1], row[:1], len(row), list(row)) == (1, "x", "x", (1,), 2, [1, "x"])
        assert row.astuple() == values
        assert row.asdict() == row._asdict() == {"a": 1, "b": "x"}
        assert row._fields == ("a", "b")
        with pytest.raises(KeyError):
            row["c"]
        with pytest.raises(IndexError):
            row[2]
    assert repr(mine) == repr(theirs)


def _must_accept(our: object, their: object) -> None:
    """Whatever can be passed to theirs can be passed to ours, by position and by name."""
    mine = inspect.signature(our).parameters  # type: ignore[arg-type]
    positional = [name for name, one in mine.items() if one.kind is not inspect.Parameter.KEYWORD_ONLY]
    for at, (name, parameter) in enumerate(inspect.signature(their).parameters.items()):  # type: ignore[arg-type]
        assert name in mine, f"{our}: parameter {name} is missing"
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            assert positional[at] == name
        if parameter.default is not inspect.Parameter.empty:
            assert mine[name].default == parameter.default
