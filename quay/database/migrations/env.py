"""What Alembic runs for every command: the versions, on the connection and in the transaction that `migrate` opened."""

from alembic import context

from quay.database.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
