"""Alembic's entry point. `freehold.central.upgrade` hands over a connection that already holds the write lock."""

from alembic import context

from freehold.central.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction covers everything
    render_as_batch=True,
)
context.run_migrations()
