"""Runs 0001_tenants.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_file(op.get_bind(), "0001_tenants")
