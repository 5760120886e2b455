"""`whatrack doctor`: what works, what soon will not, and what a person has to do. It changes nothing, and asks Meta nothing.

Exit code 0 while nothing is broken, 1 otherwise; warnings alone are 0. Secrets are never shown, only whether they are set.
"""

import asyncio
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import LiteralString

import click
import msgspec

from whatrack import db as database
from whatrack import installation
from whatrack.cli.common import as_json, start
from whatrack.connections import ad_accounts, profiles, whatsapp_numbers
from whatrack.connections.ad_accounts import AdAccount, Search
from whatrack.connections.profiles import Profile
from whatrack.connections.whatsapp_numbers import Connected
from whatrack.contacts import activity
from whatrack.contacts.activity import Activity
from whatrack.db import Connection, Database
from whatrack.errors import ConfigError
from whatrack.inbox import days, exceptions, store
from whatrack.insights.progress import AccountProgress, progress
from whatrack.migrations import check_schema
from whatrack.roi import silent
from whatrack.roi.silent import SilentDay
from whatrack.settings import Settings
from whatrack.tenants import organizations
from whatrack.tenants.organizations import Organization

MAX_LAG_S = 60.0
EXPIRY_WARN_DAYS = (
    10  # a long-lived token is exchanged in its last ten days; one that still stands there was not
)
MIN_FREE_BYTES, LOW_FREE_BYTES = 2**30, 5 * 2**30
ACTIVE = "ACTIVE"
MARKS = {"ok": "ok  ", "warning": "warn", "broken": "FAIL"}

SERVER: LiteralString = "SELECT current_setting('server_version'), pg_database_size(current_database())"


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. state: ok · warning (works, somebody should look) · broken; organization: its slug, if it is one's."""

    check: str
    state: str
    detail: str
    organization: str | None = None


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Say what works, what soon will not, and what to do; exit code 1 when something is broken."""
    found = examine(start())
    broken = any(each.state == "broken" for each in found)
    if as_json:
        click.echo(json.dumps({"ok": not broken, "checks": msgspec.to_builtins(found)}))
    else:
        for each in found:
            whose = f"{each.organization}: " if each.organization else ""
            click.echo(f"{MARKS[each.state]}  {each.check:<10}  {whose}{each.detail}")
    if broken:
        sys.exit(1)


def examine(settings: Settings) -> list[Finding]:
    """Everything doctor looks at. An embedded database that does not run is started for it, and stopped again."""
    found = [_secret(settings.webhook_secrets, "webhooks", "the app secret and the verify token are set")]
    if missing := settings.missing_for_login():
        found.append(Finding("facebook", "warning", f"no Facebook login: {' and '.join(missing)} not set"))
    is_embedded = settings.database_url is None
    found.append(_disk(settings.data_dir if is_embedded else None))
    if is_embedded and not settings.data_dir.exists():
        none_yet = f"there is none in {settings.data_dir} yet: `whatrack serve` makes it"
        return [*found, Finding("database", "broken", none_yet)]
    found.append(
        _secret(lambda: installation.sealer(settings), "key", "there is a key to encrypt tokens with")
    )
    try:
        with installation.database(settings, migrated=False) as conninfo:
            check_schema(conninfo)
            found += asyncio.run(_look(conninfo, settings))
    except ConfigError as error:
        found.append(Finding("database", "broken", str(error)))
    return found


def _secret(read: Callable[[], object], check: str, good: str) -> Finding:
    try:
        read()
    except ConfigError as error:
        return Finding(check, "broken", str(error))
    return Finding(check, "ok", good)


def _disk(folder: Path | None) -> Finding:
    """Room where the embedded database lives; a database elsewhere has a disk that only its keeper sees."""
    if folder is None:
        return Finding("disk", "ok", "the database is elsewhere: its disk is not ours to see")
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    state = "broken" if free < MIN_FREE_BYTES else "warning" if free < LOW_FREE_BYTES else "ok"
    return Finding("disk", state, f"{free / 2**30:.1f} GiB free at {there}")


async def _look(conninfo: str, settings: Settings) -> list[Finding]:
    db = Database(conninfo, max_size=2)
    await db.open()
    try:
        async with db.system() as conn:
            everyone = await organizations.everyone(conn)
            found = [await _server(conn), *await _deliveries(conn, settings)]
        if not everyone:
            found.append(Finding("tenants", "warning", "there is no organization: `whatrack org create`"))
        for each in everyone:
            async with db.tenant(each.id) as conn:
                found += await _organization(conn, each)
                found += await _sealed(conn, each, settings)
        return found
    finally:
        await db.close()


async def _server(conn: Connection) -> Finding:
    row = await (await conn.execute(SERVER)).fetchone()
    version, size = row or ("?", 0)
    return Finding("database", "ok", f"PostgreSQL {version}, {size / 2**20:.0f} MiB, schema up to date")


async def _deliveries(conn: Connection, settings: Settings) -> list[Finding]:
    ahead, lag = await days.days_ahead(conn), await store.lag_seconds(conn)
    counts, leaving = await store.counts(conn), await exceptions.leaving(conn, settings.exception_days)
    aside = (
        f"{counts.failed} failed, {counts.quarantined} of unknown numbers; {leaving.soon} leave within a week"
    )
    return [
        Finding(
            "partitions",
            "ok" if ahead >= days.MIN_DAYS_AHEAD else "broken",
            f"delivery days exist for {ahead} days ahead" + ("" if ahead else ": run `whatrack work`"),
        ),
        Finding("queue", "ok" if lag <= MAX_LAG_S else "broken", f"{counts.pending} wait, the oldest for {lag:.0f} s"),
        Finding("deliveries", "warning" if counts.failed or counts.quarantined else "ok", aside),
    ]  # fmt: skip


async def _organization(conn: Connection, who: Organization) -> list[Finding]:
    now = await database.now(conn)
    numbers = await whatsapp_numbers.connected(conn, who.id)
    alive = await activity.of_organization(conn, who.id)
    active = await ad_accounts.page(conn, who.id, Search(active=True, limit=10_000))
    own_dataset = any(each.dataset_id for each in numbers)
    found = [_number(each, alive.get(each.phone_number_id)) for each in numbers]
    found += [_profile(each, now) for each in await profiles.everyone(conn, who.id)]
    found += _datasets(active, has_own=own_dataset)
    accounts = (await progress(conn, who.id)).accounts
    found += _insights(accounts)
    found += _silent(accounts, await silent.lately(conn, who.id))
    if not numbers:
        found.append(Finding("number", "warning", "no WhatsApp number is live: `whatrack number add`"))
    return [msgspec.structs.replace(each, organization=who.slug) for each in found]


async def _sealed(conn: Connection, who: Organization, settings: Settings) -> list[Finding]:
    """Whether the keys there are open the profiles' tokens; without a key at all, that is said elsewhere."""
    try:
        sealer = installation.sealer(settings)
    except ConfigError:
        return []
    held = [
        await profiles.held(conn, who.id, each.id)
        for each in await profiles.everyone(conn, who.id)
        if each.has_token
    ]
    checked = [_secret(partial(sealer.open, each.sealed), "key", "") for each in held]
    return [msgspec.structs.replace(each, organization=who.slug) for each in checked if each.state != "ok"][
        :1
    ]


def _number(number: Connected, alive: Activity | None) -> Finding:
    name = f"{number.display_phone} ({number.phone_number_id})"
    if number.has_token and number.token_state != ACTIVE:
        return Finding(
            "number", "broken", f"{name}: its token is dead ({number.token_reason}); connect it again"
        )
    if alive is None or alive.last_delivery_at is None:
        return Finding("number", "warning", f"{name}: no webhook came in a month")
    token = "has a token" if number.has_token else "no token of its own"
    return Finding(
        "number", "ok", f"{name}: last webhook {alive.last_delivery_at:%Y-%m-%d %H:%M} UTC, {token}"
    )


def _profile(profile: Profile, now: datetime) -> Finding:
    left = profile.days_left(now)
    if profile.status != ACTIVE or not profile.has_token or left == 0:
        why = profile.status_reason or profile.status
        return Finding("profile", "broken", f"{profile.fb_user_name}: {why}; reconnect it on the site")
    if left is not None and left <= EXPIRY_WARN_DAYS:
        return Finding(
            "profile", "warning", f"{profile.fb_user_name}: its token ends in {left} days; reconnect it"
        )
    until = "never ends" if left is None else f"ends in {left} days"
    return Finding(
        "profile", "ok", f"{profile.fb_user_name}: the token {until}, {profile.accounts} ad accounts"
    )


def _datasets(active: list[AdAccount], *, has_own: bool) -> Iterator[Finding]:
    """Where an account's conversions go: its dataset, else that of the WhatsApp account."""
    for each in active:
        name = f"{each.ad_account_name} ({each.ad_account_id})"
        if each.pixel_id:
            yield Finding("dataset", "ok", f"{name}: {each.pixel_id}")
        elif has_own:
            yield Finding("dataset", "ok", f"{name}: that of the WhatsApp account")
        else:
            yield Finding(
                "dataset", "broken", f"{name}: none, so no conversion is sent; choose one on the site"
            )


def _insights(accounts: Sequence[AccountProgress]) -> Iterator[Finding]:
    """Accounts that are on: whether what they spent is here, and if not, why."""
    for each in accounts:
        name = f"{each.name} ({each.ad_account_id})"
        if not each.is_active:
            continue
        if each.goes_on:
            about = f" ({each.message})" if each.message else ""
            days = f"{each.aside} days set aside" if each.aside else "days that were set aside are due again,"
            yield Finding("spend", "warning", f"{name}: {days} because {each.reason}{about}")
        elif each.reason:
            yield Finding(
                "spend", "broken", f"{name}: {each.due} days are due, not fetched because {each.reason}"
            )
        elif each.is_first:
            yield Finding(
                "spend", "warning", f"{name}: {each.fetched} of {each.days} days are fetched so far"
            )
        else:
            early = f" ({each.early} before they ended)" if each.early else ""
            yield Finding(
                "spend", "ok", f"{name}: {each.fetched} days are fetched{early}, {each.due} due again"
            )


def _silent(accounts: Sequence[AccountProgress], days: Sequence[SilentDay]) -> Iterator[Finding]:
    """Accounts of which Meta says zero where people came: a token that sees too little looks like this."""
    for account in accounts:
        theirs = [each for each in days if each.ad_account_id == account.ad_account_id]
        if theirs:
            people = sum(each.people for each in theirs)
            said = f"Meta says no spend on {len(theirs)} days on which {people} people came from its ads"
            name = f"{account.name} ({account.ad_account_id})"
            yield Finding("spend", "warning", f"{name}: {said}; see its days")
