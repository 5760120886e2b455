"""Runs singer's tap-facebook against a sandbox, as its users run it: python tap_peer.py <folder> <url> <token> <account> <since> <until> <fields>.

Runs in an environment that has tap-facebook and nothing of ours. Records go to stdout.
"""

import contextlib
import io
import json
import sys
from datetime import date, timedelta
from pathlib import Path

import tap_facebook  # type: ignore[import-not-found]
from facebook_business.session import FacebookSession

BUFFER_DAYS = 28  # the tap's own: it begins so many days before start_date


def main(folder: str, url: str, token: str, account: str, since: str, until: str, fields: str) -> None:
    """One account, one stream: ads_insights with these fields."""
    FacebookSession.GRAPH = url
    catalog = tap_facebook.discover_schemas()
    stream = next(each for each in catalog["streams"] if each["tap_stream_id"] == "ads_insights")
    stream["schema"]["selected"] = True
    wanted = set(fields.split(","))
    for each in stream["metadata"]:
        name = each["breadcrumb"][-1] if each["breadcrumb"] else None
        each["metadata"]["selected"] = name is None or name in wanted
    config = {
        "start_date": (date.fromisoformat(since) + timedelta(days=BUFFER_DAYS)).isoformat() + "T00:00:00Z",
        "end_date": f"{until}T00:00:00Z",
        "account_id": account,
        "access_token": token,
        "insights_buffer_days": str(BUFFER_DAYS),
    }
    places = {"--config": config, "--properties": {"streams": [stream]}}
    arguments = []
    for name, value in places.items():
        path = Path(folder) / f"{name.strip('-')}.json"
        path.write_text(json.dumps(value), encoding="utf-8")
        arguments += [name, str(path)]
    sys.argv = ["tap-facebook", *arguments]
    tap_facebook.main()


if __name__ == "__main__":
    with contextlib.redirect_stderr(io.StringIO()):
        main(*sys.argv[1:])
