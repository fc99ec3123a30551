"""What SQLAlchemy's suite has to know about a database to prepare it."""

from typing import Any

import pytest
from sqlalchemy.testing import provision

from tests.dialect.requirements import SERVER


@pytest.hookimpl(trylast=True)  # after the plugin has made the tests for each database
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what asks for a second schema; some tests do without asking first whether there is one."""
    for item in items:
        params = getattr(item, "callspec", None)
        if params and any(params.params.get(name) is True for name in ("use_schema", "use_schema_fixture")):
            item.add_marker(pytest.mark.skip(reason=SERVER["schemas"]))


@provision.temp_table_keyword_args.for_db("sqlite")  # type: ignore[untyped-decorator]
def temp_table_keyword_args(_cfg: Any, _engine: Any) -> dict[str, Any]:
    return {"prefixes": ["TEMPORARY"]}


@provision.stop_test_class_outside_fixtures.for_db("sqlite")  # type: ignore[untyped-decorator]
def stop_test_class_outside_fixtures(_config: Any, db: Any, _cls: Any) -> None:
    db.dispose()


@provision.upsert.for_db("sqlite")  # type: ignore[untyped-decorator]
def upsert(
    _cfg: Any,
    table: Any,
    returning: Any,
    *,
    set_lambda: Any = None,
    sort_by_parameter_order: bool = False,
    index_elements: Any = None,
) -> Any:
    from sqlalchemy.dialects.sqlite import insert

    _ = index_elements
    new: Any = insert(table)
    change = {"set_": set_lambda(new.excluded)} if set_lambda else None
    stmt = new.on_conflict_do_update(**change) if change else new.on_conflict_do_nothing()
    return stmt.returning(*returning, sort_by_parameter_order=sort_by_parameter_order)
