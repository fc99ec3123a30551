"""SQLAlchemy and Alembic by way of Freehold's own dialect, asynchronous."""

import asyncio
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.ext.asyncio import create_async_engine

from freehold.libsql.sqlalchemy.urls import engine_url
from tests.e2e.clients.python.parts import TOKEN, URL, is_told, play

metadata = sa.MetaData()
people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20), nullable=False, unique=True),
    sa.Column("boss", sa.ForeignKey("people.id"), index=True),
)


def on_connection(work: Callable[[sa.Connection], Any]) -> Callable[[], None]:
    async def run() -> None:
        engine = create_async_engine(engine_url(URL, auth_token=TOKEN))
        try:
            async with engine.begin() as db:
                await db.run_sync(work)
        finally:
            await engine.dispose()

    return lambda: asyncio.run(run())


def create_all(db: sa.Connection) -> None:
    metadata.create_all(db)
    metadata.create_all(db)


def write_and_read(db: sa.Connection) -> None:
    db.execute(sa.insert(people), [{"id": 1, "name": "Ada", "boss": None}, {"id": 2, "name": "Bo", "boss": 1}])
    assert db.execute(sa.insert(people).values(name="Cy").returning(people.c.id)).scalar_one() == 3
    with db.begin_nested() as inner:
        db.execute(sa.delete(people))
        inner.rollback()
    assert db.scalar(sa.select(sa.func.count()).select_from(people)) == 3


def inspection(db: sa.Connection) -> None:
    found = sa.inspect(db)
    assert found.has_table("people")
    assert not found.has_table("nobody")
    assert not found.has_table("people", schema="elsewhere")
    assert found.get_schema_names() == ["main"]
    assert found.get_table_names() == ["people"]
    assert found.get_temp_table_names() == []
    assert found.get_foreign_keys("people")[0]["referred_table"] == "people"
    assert found.get_indexes("people")[0]["column_names"] == ["boss"]
    assert found.get_unique_constraints("people")[0]["column_names"] == ["name"]
    reflected = sa.MetaData()
    reflected.reflect(db)
    assert reflected.tables["people"].c.keys() == ["id", "name", "boss"]


def autogenerate(db: sa.Connection) -> None:
    context = MigrationContext.configure(db, opts={"compare_type": True})
    assert compare_metadata(context, metadata) == []
    wanted = sa.MetaData()
    for table in metadata.tables.values():
        table.to_metadata(wanted)
    sa.Table("pets", wanted, sa.Column("id", sa.Integer, primary_key=True))
    [(what, table)] = compare_metadata(context, wanted)
    assert (what, table.name) == ("add_table", "pets")


def upgrade(db: sa.Connection) -> None:
    context = MigrationContext.configure(db)
    context._ensure_version_table()
    with Operations.context(context) as op:
        op.create_table("pets", sa.Column("id", sa.Integer, primary_key=True), sa.Column("age", sa.Integer))
        op.add_column("pets", sa.Column("name", sa.String(9)))
        op.create_index("by_name", "pets", ["name"])
        db.execute(sa.text("INSERT INTO pets (age, name) VALUES (3, 'Rex')"))
        with op.batch_alter_table("pets") as batch:
            batch.alter_column("age", new_column_name="years", existing_type=sa.Integer)
            batch.create_check_constraint("young", sa.text("years < 99"))
    assert db.execute(sa.text("SELECT years, name FROM pets")).all() == [(3, "Rex")]
    assert sa.inspect(db).get_check_constraints("pets")[0]["sqltext"] == "years < 99"


def errors() -> None:
    def run(sql: str) -> None:
        on_connection(lambda db: db.execute(sa.text(sql)).all())()

    is_told(run)


play(
    {
        "`create_all`": on_connection(create_all),
        "write, read, savepoint": on_connection(write_and_read),
        "inspect, reflect, `has_table`": on_connection(inspection),
        "Alembic: autogenerate": on_connection(autogenerate),
        "Alembic: upgrade, batch mode": on_connection(upgrade),
        "errors": errors,
    }
)
