"""`freehold tenants sql`: run SQL in one tenant's database."""

import asyncio
import base64
import sys

import click

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_tenants
from freehold.cli.output import echo_json, examples, one_line
from freehold.libsql.protocol import StmtResult, Value
from freehold.libsql.values import SqlValue, decode
from freehold.migrate.split import MAX_SCRIPT_BYTES
from freehold.tenants.drift import Checked


@click.command(
    epilog=examples(
        "freehold tenants sql ada@example.com 'SELECT count(*) FROM decks'",
        "freehold tenants sql t-4c1d 'SELECT * FROM settings' --json | jq .rows",
        "freehold tenants check ada@example.com > repair.sql",
        "freehold tenants sql ada@example.com --write - < repair.sql",
    )
)
@click.argument("tenant", metavar="TENANT")
@click.argument("sql", metavar="SQL")
@click.option("--write", "writes", is_flag=True, help="Allow changes to rows and tables; read-only by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per statement, for programs.")
@async_command
async def sql(tenant: str, sql: str, *, writes: bool, as_json: bool) -> int:
    """Run SQL in a tenant's database, and print the rows that it returns. `-` reads the SQL from stdin.

    Like its user's own statements, it is subject to the guard and to limits on time and size, and never writes tables
    named `freehold_…`; the audit trail records who ran what. Several statements that change rows or tables run as a
    whole or not at all; a script with its own BEGIN, such as `freehold tenants check` prints, runs as it is. It stops
    at the first error.

    After --write, the schema is compared with that of its version: exit code 1 if it differs.
    """
    script = await asyncio.to_thread(sys.stdin.read, MAX_SCRIPT_BYTES + 1) if sql == "-" else sql
    async with command_tenants() as services:
        ran = await services.operator_sql.run(tenant, script, writes=writes)
    for number, result in enumerate(ran.results, start=1):
        if as_json:
            echo_json({"statement": number, **_shown(result)})
        else:
            _print(result)
    if ran.checked is None:
        return EXIT_DONE
    return _tell(ran.checked, sum(each.affected_row_count for each in ran.results), as_json=as_json)


def _tell(checked: Checked, changed: int, *, as_json: bool) -> int:
    if as_json:
        echo_json({"verdict": checked.verdict, "schema_version": checked.version, "reasons": checked.reasons})
    schema = f"that of version {checked.version}" if checked.verdict == "same" else checked.verdict
    click.echo(f"{changed} rows changed; its schema is {schema}", err=True)
    for reason in checked.reasons:
        click.echo(one_line(reason), err=True)
    return EXIT_DONE if checked.verdict == "same" else EXIT_NO


def _shown(result: StmtResult) -> dict[str, object]:
    return {
        "columns": [column.name for column in result.cols],
        "rows": [[_for_json(value) for value in row] for row in result.rows],
        "rows_changed": result.affected_row_count,
    }


def _for_json(value: Value) -> object:
    found = decode(value)
    return {"base64": base64.b64encode(found).decode()} if isinstance(found, bytes) else found


def _print(result: StmtResult) -> None:
    """Print tab-separated values; whatever would break a line is escaped."""
    if not result.cols:
        return
    click.echo("\t".join(one_line(column.name or "") for column in result.cols))
    for row in result.rows:
        click.echo("\t".join(_cell(decode(value)) for value in row))


def _cell(value: SqlValue) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode()
