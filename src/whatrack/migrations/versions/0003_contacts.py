"""Runs 0003_contacts.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_file(op.get_bind(), "0003_contacts")
