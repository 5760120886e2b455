"""Whose token for what: the facts of route.py read from the tables, for whoever calls Graph in an organization's name."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import LiteralString, TypeVar
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.connections import ad_accounts, profiles, route, whatsapp_numbers
from whatrack.connections.ad_accounts import AdAccount
from whatrack.connections.keys import Held, Keys
from whatrack.connections.profiles import Profile
from whatrack.connections.route import AccountFacts, NumberFacts, ProfileFacts, Route
from whatrack.db import Connection, Database
from whatrack.errors import Refused
from whatrack.meta.calls import Token
from whatrack.meta.errors import GraphError, MissingPermission, NotVisible, TokenDead
from whatrack.meta.ids import act_account

T = TypeVar("T")

PROFILES: LiteralString = """
SELECT id, access_token, token_app_id, token_proof, scopes FROM meta_connections
WHERE organization_id = %s AND status = 'ACTIVE' AND (token_expires_at IS NULL OR token_expires_at > now())
ORDER BY created_at, id
"""
ACCOUNT: LiteralString = """
SELECT a.id, a.is_active, a.pixel_id, a.pixel_confirmed, a.connection_id, ARRAY(SELECT s.connection_id
    FROM meta_ad_account_access s WHERE s.organization_id = a.organization_id AND s.account_id = a.id) AS seen_by
FROM meta_ad_accounts a WHERE a.organization_id = %s AND a.ad_account_id = %s
"""
SIGHT: LiteralString = """
SELECT c.fb_user_name AS name, CASE WHEN c.status = 'ACTIVE' AND c.token_expires_at <= now() THEN 'EXPIRED' ELSE c.status END AS status
FROM meta_ad_accounts a JOIN meta_ad_account_access s ON s.organization_id = a.organization_id AND s.account_id = a.id
JOIN meta_connections c ON c.organization_id = s.organization_id AND c.id = s.connection_id
WHERE a.organization_id = %s AND a.ad_account_id = %s ORDER BY c.created_at, c.id
"""
NUMBERS: LiteralString = """
SELECT phone_number_id, waba_id, dataset_id, token, token_app_id, token_proof, token_status = 'ACTIVE' AS works FROM whatsapp_numbers
WHERE organization_id = %s ORDER BY live_at, phone_number_id
"""


class _Number(msgspec.Struct, frozen=True):
    phone_number_id: str
    waba_id: str
    dataset_id: str | None
    token: bytes | None
    token_app_id: str | None
    token_proof: bytes | None
    works: bool


class Sight(msgspec.Struct, frozen=True):
    """A profile that sees an account, whether its token works or not. status: ACTIVE, EXPIRED or INVALID_SCOPES."""

    name: str
    status: str


class Facts(msgspec.Struct, frozen=True):
    """What the routes of an organization follow from."""

    profiles: list[ProfileFacts]
    numbers: list[NumberFacts]

    def route(self, account: AccountFacts | None, phone_number_id: str) -> Route:
        """The route of a conversion from this account's ad, for a conversation on this number."""
        number = next((each for each in self.numbers if each.phone_number_id == phone_number_id), None)
        others = {each.dataset_id for each in self.numbers if number and each.waba_id != number.waba_id}
        known = frozenset(each for each in others if each)
        return route.choose(account, number, self.profiles, others_datasets=known)


class Overview(msgspec.Struct, frozen=True):
    """Some of an organization's accounts with who sees each and where its conversions go."""

    profiles: list[Profile]
    facts: Facts
    seen: dict[UUID, list[UUID]]

    @property
    def listed_at(self) -> datetime | None:
        """The age of the oldest list among the profiles that work; None when one was never read, or none works."""
        ages = [each.listed_at for each in self.profiles if each.status == "ACTIVE"]
        known = [each for each in ages if each is not None]
        return min(known) if known and len(known) == len(ages) else None

    def seen_by(self, account: AdAccount) -> list[Profile]:
        """The profiles that see an account, by name."""
        ids = self.seen.get(account.id, [])
        return [each for each in self.profiles if each.id in ids]

    def owner_of(self, held: Held) -> str | None:
        """The name of the profile whose token it is; None for a number's."""
        found = (each.fb_user_name for each in self.profiles if str(each.id) == held.owner_id)
        return next(found, None)

    def routes(self, account: AdAccount) -> list[Route]:
        """Where conversions of the account's ads go: one route for each WhatsApp account; one without, when there is none."""
        facts = AccountFacts(
            account.id, account.is_active, account.pixel_id, account.pixel_confirmed, account.connection_id, self.seen.get(account.id, [])
        )  # fmt: skip
        first = {each.waba_id: each.phone_number_id for each in reversed(self.facts.numbers)}
        found = [self.facts.route(facts, number) for number in reversed(first.values())]
        return found or [self.facts.route(facts, "")]


async def overview(conn: Connection, organization_id: UUID, accounts: Sequence[AdAccount]) -> Overview:
    """What there is to tell of these accounts."""
    return Overview(
        await profiles.everyone(conn, organization_id),
        await facts(conn, organization_id),
        await ad_accounts.seen_by(conn, organization_id, [each.id for each in accounts]),
    )


async def token_for_account(conn: Connection, organization_id: UUID, account_id: str) -> list[Held]:
    """The tokens of the working profiles that see an account, its own first; [] when nobody does or it is unknown.

    account_id: with or without act_.
    """
    account = await account_facts(conn, organization_id, account_id)
    if account is None:
        return []
    return [each.held for each in route.in_order(account, await working(conn, organization_id))]


async def sights(conn: Connection, organization_id: UUID, account_id: str) -> list[Sight]:
    """Who sees an account, the oldest profile first; [] when nobody does or it is unknown. account_id: with or without act_."""
    async with conn.cursor(row_factory=class_row(Sight)) as cursor:
        return await (await cursor.execute(SIGHT, [organization_id, act_account(account_id)])).fetchall()


async def dataset_route(
    conn: Connection, organization_id: UUID, account_id: str | None, phone_number_id: str
) -> Route:
    """Where a conversion goes, with whose token, and what is missing. account_id: None when the ad's is not known."""
    known = await facts(conn, organization_id)
    account = await account_facts(conn, organization_id, account_id) if account_id else None
    return known.route(account, phone_number_id)


async def working(conn: Connection, organization_id: UUID) -> list[ProfileFacts]:
    """The organization's profiles whose token works, the oldest first."""
    found = await (await conn.execute(PROFILES, [organization_id])).fetchall()
    return [
        ProfileFacts(
            profile_id,
            Held("profile", organization_id, str(profile_id), sealed, app_id, proof),
            frozenset(scopes),
        )
        for profile_id, sealed, app_id, proof, scopes in found
    ]


async def facts(conn: Connection, organization_id: UUID) -> Facts:
    """Profiles and numbers of an organization."""
    async with conn.cursor(row_factory=class_row(_Number)) as cursor:
        numbers = await (await cursor.execute(NUMBERS, [organization_id])).fetchall()
    return Facts(
        await working(conn, organization_id),
        [
            NumberFacts(each.phone_number_id, each.waba_id, each.dataset_id, _held(organization_id, each))
            for each in numbers
        ],
    )


async def account_facts(conn: Connection, organization_id: UUID, account_id: str) -> AccountFacts | None:
    """What was decided about an account, and who sees it; None when it is unknown here."""
    account = act_account(account_id)
    async with conn.cursor(row_factory=class_row(AccountFacts)) as cursor:
        return await (await cursor.execute(ACCOUNT, [organization_id, account])).fetchone()


def _held(organization_id: UUID, number: _Number) -> Held | None:
    if number.token is None or not number.works:
        return None
    proof = bytes(number.token_proof) if number.token_proof else None
    return Held(
        "number",
        organization_id,
        number.phone_number_id,
        bytes(number.token),
        number.token_app_id or "",
        proof,
    )


async def report(conn: Connection, held: Held, error: GraphError) -> bool:
    """What a call's error says of the token that made it, written onto its owner; whether a state changed."""
    if held.kind == "profile":
        return await profiles.report(conn, held, error)
    return await whatsapp_numbers.report(conn, held, error)


async def with_any(
    db: Database, keys: Keys, held: Sequence[Held], call: Callable[[Token], Awaitable[T]]
) -> T:
    """What the call gives with the first token that it works with; what the others said of themselves is kept.

    Refused `no_token` when there is none; the last GraphError when none works. Hold no transaction meanwhile.
    """
    last: GraphError | None = None
    for each in held:
        try:
            return await call(keys.token(each))
        except (TokenDead, MissingPermission, NotVisible) as error:
            last = error
            async with db.tenant(each.organization_id) as conn:
                await report(conn, each, error)
    if last is not None:
        raise last
    raise Refused("no_token", "No connected profile or number that works may do this: connect one.")
