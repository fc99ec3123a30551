"""`freehold users import`: import users from better-auth or from a file."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

import click
import msgspec

from freehold.auth.importing.records import Ending, MoveReport, Outcome
from freehold.auth.importing.service import UserSource
from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_services
from freehold.cli.output import echo_json, examples, progress

TOKEN_VARIABLE = "BETTER_AUTH_DATABASE_TOKEN"  # noqa: S105


@click.command(
    "import",
    epilog=examples(
        "freehold users import --from-better-auth ./sqlite.db --dry-run",
        "BETTER_AUTH_DATABASE_TOKEN=… freehold users import --from-better-auth libsql://auth-acme.turso.io",
        "freehold users import users.jsonl --json > report.jsonl",
        "pg_dump_users | freehold users import -",
    ),
)
@click.argument("file", type=click.File("rb"), required=False)
@click.option(
    "--from-better-auth",
    "url",
    metavar="URL",
    help=f"A better-auth database: a file, or a libSQL URL with its token in {TOKEN_VARIABLE}. Only read.",
)
@click.option("--dry-run", is_flag=True, help="Show what would happen, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line: each problem, then the report.")
@async_command
async def import_users(file: IO[bytes] | None, url: str | None, dry_run: bool, as_json: bool) -> int:
    """Import users with their accounts, password hashes and sessions; each gets their own database.

    FILE has one JSON object per line: `email`, and if known `id`, `name`, `emailVerified`, `image`, `role`,
    `createdAt`, `password` (a hash as better-auth writes it), `accounts` and `sessions` with better-auth's columns.

    Users who already exist are left unchanged, so it is safe to repeat, or to stop and run again. Sessions that have
    ended and tokens of other providers are not imported. Exit code 1 if a user could not be imported.
    """
    if (file is None) == (url is None):
        raise click.UsageError("give either FILE or --from-better-auth")
    report = MoveReport()
    async with command_services("aside" if dry_run else "new") as services, _source(file, url) as source:
        with progress("moving in", await source.count(), is_wanted=not as_json) as bar:
            async for outcomes in services.user_import.run(source, dry_run=dry_run):
                for outcome in outcomes:
                    report.count(outcome)
                    if outcome.reasons:
                        _tell(outcome, as_json=as_json)
                bar.advance(len(outcomes))
    if as_json:
        echo_json({"report": _numbers(report, dry_run=dry_run)})
    else:
        _print_report(report, dry_run=dry_run)
    return EXIT_DONE if report.is_whole else EXIT_NO


@asynccontextmanager
async def _source(file: IO[bytes] | None, url: str | None) -> AsyncIterator[UserSource]:
    from freehold.central.auth.better_auth import UserLines, open_better_auth

    if url is None:
        assert file is not None
        yield UserLines(file)
        return
    async with open_better_auth(url, os.environ.get(TOKEN_VARIABLE)) as source:
        yield source


def _tell(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        echo_json({"problem": msgspec.to_builtins(outcome)})
        return
    who = outcome.email or outcome.user_id or "a user"
    line = f"{who}: {outcome.ending.value}: {'; '.join(outcome.reasons)}"
    click.echo(line if line.isprintable() else line.encode("unicode_escape").decode(), err=True)


def _numbers(report: MoveReport, *, dry_run: bool) -> dict[str, int | bool]:
    endings = {ending.value: report.endings[ending] for ending in Ending}
    return {**endings, "accounts": report.accounts, "sessions": report.sessions,
            "with_notes": report.notes, "dry_run": dry_run}  # fmt: skip


def _print_report(report: MoveReport, *, dry_run: bool) -> None:
    word = "would move in" if dry_run else "moved in"
    click.echo(
        f"{report.endings[Ending.ADDED]} users {word}, with {report.accounts} accounts and {report.sessions} sessions"
    )
    click.echo(f"{report.endings[Ending.KNOWN]} were here already")
    for ending, words in (
        (Ending.CONFLICT, "conflict with an existing user"),
        (Ending.UNUSABLE, "cannot be used as they are"),
    ):
        if report.endings[ending]:
            click.echo(f"{report.endings[ending]} {words}", err=True)
