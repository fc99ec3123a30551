"""SQLAlchemy by way of `sqlalchemy-libsql`, synchronous."""

import sqlalchemy as sa

from tests.e2e.clients.python.parts import TOKEN, URL, is_told, play

scheme, _, rest = URL.partition("://")
engine = sa.create_engine(
    f"sqlite+libsql://{rest}?secure={'true' if scheme == 'https' else 'false'}", connect_args={"auth_token": TOKEN}
)
metadata = sa.MetaData()
people = sa.Table(
    "people", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(20), unique=True)
)


def create_all() -> None:
    metadata.create_all(engine)
    metadata.create_all(engine)


def write_and_read() -> None:
    with engine.begin() as db:
        db.execute(sa.insert(people), [{"name": "Ada"}, {"name": "Bo"}])
        assert db.execute(sa.select(people.c.name).order_by(people.c.id)).scalars().all() == ["Ada", "Bo"]


def transactions() -> None:
    with engine.connect() as db:
        db.execute(sa.insert(people), {"name": "undone"})
        db.rollback()
    with engine.connect() as db:
        assert db.execute(sa.select(sa.func.count()).select_from(people)).scalar() == 2


def inspection() -> None:
    found = sa.inspect(engine)
    assert found.has_table("people")
    assert not found.has_table("nobody")
    assert [column["name"] for column in found.get_columns("people")] == ["id", "name"]
    assert found.get_pk_constraint("people")["constrained_columns"] == ["id"]
    assert sa.Table("people", sa.MetaData(), autoload_with=engine).c.keys() == ["id", "name"]


def errors() -> None:
    def run(sql: str) -> None:
        with engine.connect() as db:
            db.execute(sa.text(sql)).all()

    is_told(run)


play(
    {
        "`create_all`": create_all,
        "write, read": write_and_read,
        "transaction": transactions,
        "inspect, reflect": inspection,
        "errors": errors,
    }
)
