"""`whatrack reseal`: after a change of WHATRACK_SECRET_KEY, every secret at rest under the new key at once."""

import click

from whatrack import flow_connections, installation
from whatrack.cli.common import as_json, run, say
from whatrack.db import Database
from whatrack.settings import load_settings


@click.command("reseal")
@as_json
def reseal(as_json: bool) -> None:
    """Encrypt tokens and two-step secrets anew with WHATRACK_SECRET_KEY's first key; then the others can go.

    The background loops do the same within the hour.
    """

    async def done(db: Database) -> int:
        return await flow_connections.reseal(db, installation.sealer(load_settings()))

    count = run(done)
    say(as_json, {"resealed": count}, f"{count} secrets are under the first key now; the others can go.")
