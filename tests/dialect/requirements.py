"""What SQLAlchemy's suite may ask of the dialect: everything, but for what is listed here with its reason."""

from typing import Any

from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

_NO_TEMP = "sqld refuses CREATE TEMP: what it makes would be gone with the stream"
_NO_SCHEMAS = "a server attaches no files: there is one schema, main"
_NO_COMMENTS = "SQLite keeps no comments on tables and columns"
_NO_IDENTITY = "SQLite has no IDENTITY columns"
_NO_ZONES = "SQLAlchemy's SQLite types store no time zone"
_NO_FETCH = "SQLite has LIMIT and OFFSET, not FETCH FIRST"
_NO_SEQUENCES = "SQLite has no sequences"
_NO_MATERIALIZED = "SQLite has no materialized views"
_FLOATS = "SQLite computes with 64-bit floats, not with decimals"
_REPEATED = "SQLite reflects a foreign key by column, so one that repeats a column is not told"

# Server: a libSQL server differs from a SQLite file. SQLite: so does SQLAlchemy's own dialect for SQLite files.
SERVER: dict[str, str] = {
    "temporary_tables": _NO_TEMP,
    "temporary_views": _NO_TEMP,
    "temp_table_reflection": _NO_TEMP,
    "temp_table_reflect_indexes": _NO_TEMP,
    "temp_table_names": _NO_TEMP,
    "temp_table_comment_reflection": _NO_TEMP,
    "has_temp_table": _NO_TEMP,
    "create_temp_table_as": _NO_TEMP,
    "schemas": _NO_SCHEMAS,
    "schema_reflection": _NO_SCHEMAS,
    "cross_schema_fk_reflection": _NO_SCHEMAS,
    "infinity_floats": "JSON has no infinities: they are stored, and read as NaN",
    "unicode_ddl": "the suite's tables refer to a column that is not unique, and a server enforces foreign keys",
    "server_side_cursors": "the suite knows the cursor classes of the dialects inside SQLAlchemy only",
}
SQLITE: dict[str, str] = {
    "schema_create_delete": "SQLite has no CREATE SCHEMA",
    "default_schema_name_switch": "SQLite has no SET SCHEMA",
    "array_type": "SQLite has no arrays",
    "two_phase_transactions": "SQLite has no two-phase commit",
    "parens_in_union_contained_select_w_limit_offset": "SQLite takes no parentheses around a SELECT of a UNION",
    "parens_in_union_contained_select_wo_limit_offset": "SQLite takes no parentheses around a SELECT of a UNION",
    "comment_reflection": _NO_COMMENTS,
    "comment_reflection_full_unicode": _NO_COMMENTS,
    "constraint_comment_reflection": _NO_COMMENTS,
    "identity_columns": _NO_IDENTITY,
    "identity_columns_standard": _NO_IDENTITY,
    "datetime_timezone": _NO_ZONES,
    "datetime_timezone_historic": _NO_ZONES,
    "time_timezone": _NO_ZONES,
    "datetime_interval": "SQLite has no intervals in SQL",
    "fetch_first": _NO_FETCH,
    "fetch_percent": _NO_FETCH,
    "fetch_ties": _NO_FETCH,
    "fetch_no_order_by": _NO_FETCH,
    "fetch_expression": _NO_FETCH,
    "fetch_offset_with_options": _NO_FETCH,
    "sequences": _NO_SEQUENCES,
    "materialized_views": _NO_MATERIALIZED,
    "materialized_views_reflect_pk": _NO_MATERIALIZED,
    "create_or_replace_view": "SQLite has no CREATE OR REPLACE VIEW",
    "precision_numerics_many_significant_digits": _FLOATS,
    "cast_precision_numerics_many_significant_digits": _FLOATS,
    "repeated_column_foreign_keys": _REPEATED,
    "repeated_remote_col_foreign_keys": _REPEATED,
    "implicitly_named_constraints": "SQLite gives no names to constraints that have none",
    "reflect_indexes_with_ascdesc": "SQLAlchemy does not reflect the order of SQLite's indexes",
    "delete_from": "SQLite deletes from one table only",
    "computed_columns_default_persisted": "a generated column of SQLite is VIRTUAL unless STORED is said",
    "json_deserializer_binary": "JSON arrives as text",
    "table_value_constructor": "SQLite gives no names to the columns of VALUES",
    "supports_distinct_on": "SQLite has no DISTINCT ON",
    "regexp_replace": "SQLite has no function to replace by a pattern",
    "window_range_non_numeric": "SQLite's RANGE takes numbers only",
    "reflect_tables_no_columns": "a table of SQLite has a column",
    "index_reflects_included_columns": "SQLite has no covering columns in an index",
    "indexes_with_expressions": "SQLAlchemy does not reflect SQLite's expression indexes",
    "reflect_indexes_with_expressions": "SQLAlchemy does not reflect SQLite's expression indexes",
    "foreign_keys_reflect_as_index": "SQLite makes no index for a foreign key",
    "unique_constraints_reflect_as_index": "SQLAlchemy leaves SQLite's automatic indexes out",
    "unique_index_reflect_as_unique_constraints": "SQLite tells a unique index from a constraint",
}


class Requirements(SuiteRequirements):
    """Everything that is not excluded is asked for, also what SQLAlchemy leaves off by default."""

    def __getattribute__(self, name: str) -> Any:
        given = super().__getattribute__(name)
        if reason := SERVER.get(name) or SQLITE.get(name):
            return exclusions.closed(reason)  # type: ignore[no-untyped-call]
        return exclusions.open() if _is_off_by_default(given) else given  # type: ignore[no-untyped-call]


def _is_off_by_default(given: Any) -> bool:
    if not isinstance(given, exclusions.compound):
        return False
    return any(isinstance(skip, exclusions.BooleanPredicate) and skip.value for skip in given.skips)
