"""Runs 0006_people.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_file(op.get_bind(), "0006_people")
