"""Run by alembic: applies the steps on the connection, and in the transaction, that the caller has opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
