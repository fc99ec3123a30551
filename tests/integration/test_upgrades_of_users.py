"""What older versions left behind in users and accounts, and what an upgrade makes of it."""

from pathlib import Path

from alembic import command
from sqlalchemy import Connection, text

from freehold.central.engine import open_central
from freehold.central.upgrade import migration_config, upgrade_central

AT = "'2026-01-01T00:00:00.000Z'"
OLD = [
    f"INSERT INTO user (id, name, email, emailVerified, isAnonymous, createdAt, updatedAt)"
    f" VALUES ('{user_id}', 'n', '{user_id}@example.com', {verified}, {anonymous}, {AT}, {AT})"
    for user_id, verified, anonymous in (
        ("guest", 0, 1),
        ("moved", 1, 1),
        ("linked", 1, 1),
        ("user", 1, 0),
        ("other", 0, 0),
    )
] + [
    f"INSERT INTO guest_link VALUES ('linked', 'user', {AT})",
    f"INSERT INTO account (id, accountId, providerId, userId, createdAt, updatedAt)"
    f" VALUES ('a', 's', 'oidc', 'user', {AT}, {AT})",
    f"INSERT INTO session (id, expiresAt, token, createdAt, updatedAt, userId)"
    f" VALUES ('s', '2099-01-01T00:00:00.000Z', 't', {AT}, {AT}, 'other')",
]


async def test_an_installation_of_an_older_version_loses_nobody_and_nothing(tmp_path: Path) -> None:
    central = open_central(tmp_path / "central.db")

    def begin(connection: Connection) -> None:
        command.upgrade(migration_config(connection), "0012")
        for sql in OLD:
            connection.execute(text(sql))

    async with central.write() as db:
        await db.run_sync(begin)
    await upgrade_central(central)
    async with central.read() as db:
        guests = (await db.execute(text("SELECT id FROM user WHERE isAnonymous ORDER BY 1"))).scalars().all()
        accounts = (await db.execute(text("SELECT id, userId, vouchedFor FROM account"))).all()
        sessions = (await db.execute(text("SELECT token FROM session"))).scalars().all()
    await central.close()
    assert guests == ["guest", "linked"], "who has shown an address to be theirs is a guest no longer"
    assert [tuple(row) for row in accounts] == [("a", "user", None)]
    assert sessions == ["t"], "the upgrade is nobody's arrival"
