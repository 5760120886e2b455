"""Why an account's figures do not come is said by its cause, with what helps, and what is empty is not silent."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import aiohttp
import pytest

from tests.conversions import put
from tests.insights import Ledger, a_ledger
from tests.pages_support import get
from tests.roi_world import ZONES, World, make_world
from tests.support import rows, sign_in
from whatrack.cli import doctor
from whatrack.connections.tokens import Sight
from whatrack.db import Database
from whatrack.db import now as clock
from whatrack.insights import reasons
from whatrack.insights.fetch import NobodySees
from whatrack.meta.errors import Refusal, TokenDead
from whatrack.roi import facts, periods, silent
from whatrack.sandbox.state import AdAccount
from whatrack.sandbox.trouble import break_login, revise
from whatrack.units import new_id

FOLLOWED_SOON = "SELECT pg_sleep(0.01) FROM ticket_marks LIMIT 1"
PERIOD = "period=custom&since=2026-10-01&until=2026-10-30"


@pytest.fixture
async def ledger(db: Database) -> AsyncIterator[Ledger]:
    async with a_ledger(db) as made:
        yield made


@pytest.fixture
async def world(db: Database) -> World:
    return await make_world(db, seed=41, tickets=60)


@pytest.fixture
async def tab(db: Database, world: World, service: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with await sign_in(db, service, world.shop, "owner") as tab:
        yield tab


async def test_a_dead_profile_is_the_reason_of_every_account_that_it_sees_at_every_try(ledger: Ledger):
    cast = ledger.sandbox.cast
    york = next(each for each in ledger.sandbox.world.all(AdAccount) if each.name == "Horizonte US")
    other = await ledger.add(york, cast.thiago)
    break_login(ledger.sandbox.world, cast.thiago.id, "password_changed")
    for _ in range(2):
        await ledger.due()
        await ledger.fetched()
        for account in (ledger.account, other):
            state = await ledger.state(account)
            assert (state["reason"], state["message"]) == ("token_dead", "Thiago")
            assert {row["reason"] for row in await ledger.days(account)} == {"token_dead"}
    assert ledger.calls() == 1

    await put(ledger.db, "DELETE FROM meta_ad_account_access")
    await ledger.due()
    await ledger.fetched()
    assert (await ledger.state())["reason"] == "no_profile"


async def test_a_profile_whose_time_is_over_is_dead_before_anybody_says_so(ledger: Ledger):
    await put(ledger.db, "UPDATE meta_connections SET token_expires_at = now() - interval '1 hour'")
    await ledger.fetched()

    assert (await ledger.state())["reason"] == "token_dead"
    assert ledger.calls() == 0


def test_whose_permission_is_missing_is_said_where_no_token_is_dead():
    nobody = reasons.miss_of(NobodySees(), 0)
    declined, dead = Sight("Ana", "INVALID_SCOPES"), Sight("Bia", "EXPIRED")

    assert (nobody.reason, nobody.message) == ("no_profile", None)
    assert reasons.of_sights(nobody, [Sight("Caio", "ACTIVE")]) == nobody
    told = [reasons.of_sights(nobody, each) for each in ([declined], [declined, dead])]
    assert [(each.reason, each.message) for each in told] == [
        ("permission_missing", "Ana"),
        ("token_dead", "Bia"),
    ]


def test_what_meta_says_of_a_dead_token_is_nobodys_name():
    error = TokenDead("expired", Refusal(code=190, message="Error validating access token"))
    dead = reasons.miss_of(error, 0)

    assert dead.message == "Error validating access token"
    assert reasons.of_sights(dead, [Sight("Caio", "ACTIVE")]).message is None
    assert reasons.of_sights(dead, [Sight("Bia", "EXPIRED")]).message == "Bia"


async def behind(world: World, db: Database, *stuck: str) -> None:
    """The shop's accounts are off, but for one more behind each of these reasons: nothing of theirs is due for the loops."""
    await put(db, "UPDATE meta_ad_accounts SET is_active = false")
    for place, reason in enumerate(stuck):
        await put(
            db,
            """WITH account AS (INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status,
                   currency, timezone_name, is_active, seen_at)
                   VALUES (%s, %s, %s, %s, 1, 'BRL', 'America/Sao_Paulo', true, now()) RETURNING organization_id, id)
               INSERT INTO insight_accounts (organization_id, account_id, next_at, reason, message)
               SELECT organization_id, id, now() + interval '7 minutes', %s, 'Thiago' FROM account""",
            world.shop.id, new_id(), f"act_90{place}", f"Parada {place}", reason,
        )  # fmt: skip


async def test_three_accounts_in_trouble_are_named_and_the_rest_counted(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    await behind(world, db, "transient", "throttled", "no_access", "token_dead", "no_profile")
    page = await get(tab, f"/roi?{PERIOD}")

    for place in (2, 3, 4):  # those that a person can do something about
        assert f"Parada {place}:" in page.words
    assert "o token de Thiago não vale mais" in page.words
    assert "Mais 2 contas esperam." in page.words
    assert "Parada 0:" not in page.words
    assert page.text.count('href="/settings/meta">Ver os perfis') == 3


async def test_an_account_that_meta_throttles_goes_on_by_itself_and_the_page_says_when(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    await behind(world, db, "throttled")
    page = await get(tab, f"/roi?{PERIOD}")

    assert "a conta chegou ao limite de consultas. Segue sozinha em 7 minutos." in page.words
    assert "Ver os perfis" not in page.text


async def test_the_day_that_keeps_an_account_in_part_has_a_link_beside_when_it_is_tried_again(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    await behind(world, db, "row_unreadable")
    await put(
        db,
        """INSERT INTO insight_days (organization_id, account_id, day, due_at, reason)
           SELECT organization_id, account_id, '2026-10-02', next_at, reason FROM insight_accounts WHERE reason IS NOT NULL""",
    )
    page = await get(tab, f"/roi?{PERIOD}")

    assert 'Segue sozinha em 7 minutos. <a class="link-plain" href="/roi/days/act_900?' in page.text


async def emptied(world: World, db: Database, account: str, since: date, until: date, read_at: str) -> int:
    """Meta says zero for these days of the account, read at this time; how many people came on them by its ads."""
    async with db.system() as conn:
        ref, zone = world.accounts[account], ZONES[account]
        await conn.execute("SELECT set_config('whatrack.org', %s, true)", [str(world.shop.id)])
        await conn.execute(
            "DELETE FROM meta_ad_insights_daily WHERE account_ref = %s AND day BETWEEN %s AND %s",
            [ref, since, until],
        )
        await conn.execute(
            """INSERT INTO insight_days (organization_id, account_id, day, fetched_at, answer_hash)
               SELECT organization_id, id, day, %s::timestamptz, '' FROM meta_ad_accounts
               CROSS JOIN generate_series(%s::date, %s::date, interval '1 day') AS day WHERE ref = %s
               ON CONFLICT (organization_id, account_id, day) DO UPDATE SET fetched_at = excluded.fetched_at, due_at = NULL,
                   answer_hash = excluded.answer_hash""",  # the service's loops may have opened the days already
            [read_at, since, until, ref],
        )
        # The service's loop follows too, and whoever comes second leaves it to the other.
        while await facts.follow(conn) or await (await conn.execute(FOLLOWED_SOON)).fetchall():
            pass
        row = await (
            await conn.execute(
                """SELECT count(*) FROM ticket_facts WHERE organization_id = %s AND account_ref = %s AND is_lead
                   AND (touched_at AT TIME ZONE %s)::date BETWEEN %s AND %s""",
                [world.shop.id, ref, zone, since, until],
            )
        ).fetchone()
    assert row
    return int(row[0])


async def told(
    tab: aiohttp.ClientSession, since: date, until: date
) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """The notes, and account → silent days and people."""
    async with tab.get(
        "/api/v1/meta-ads/insights", params={"level": "account", "since": str(since), "until": str(until)}
    ) as response:
        answer = await response.json()
    found = {
        each["ad_account_id"]: (each["silent_days"], each["silent_people"]) for each in answer["freshness"]
    }
    return answer["notes"], found


@pytest.mark.parametrize("account", ["act_1", "act_2"])
async def test_zero_where_people_came_is_never_silent(
    db: Database, world: World, tab: aiohttp.ClientSession, account: str
):
    since, until = date(2026, 9, 1), date(2026, 11, 10)
    people = await emptied(world, db, account, since, until, "2026-11-20")
    notes, by_account = await told(tab, since, until)
    page = await get(tab, f"/roi?period=custom&since={since}&until={until}")

    assert people
    assert "silent_days" in notes
    assert by_account[account][1] == people
    assert {value for name, value in by_account.items() if name != account} <= {(0, 0)}
    days = by_account[account][0]
    assert f"A Meta diz que Conta {account} não gastou nada em {days} dia" in page.words
    assert f"/roi/days/{account}?" in page.text
    listed = await get(tab, f"/roi/days/{account}?period=custom&since={since}&until={until}")
    assert len(re.findall(r"pessoas? (veio|vieram) dos anúncios", listed.words)) == days
    every = await get(tab, f"/roi/days?period=custom&since={since}&until={until}")
    assert "sem gasto, mas com pessoas" in every.words


async def test_zero_of_a_day_that_was_read_while_it_lasted_or_had_nobody_says_nothing(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    await put(db, "DELETE FROM tickets WHERE opened_at::date = '2026-10-02'")
    await emptied(world, db, "act_1", date(2026, 10, 1), date(2026, 10, 1), "2026-10-01 20:00Z")
    await emptied(world, db, "act_3", date(2025, 10, 2), date(2025, 10, 2), "2026-11-20")

    for day in (date(2026, 10, 1), date(2025, 10, 2)):
        notes, _ = await told(tab, day, day)
        assert "silent_days" not in notes


async def test_a_date_that_is_none_is_told_above_the_days_of_every_account(tab: aiohttp.ClientSession):
    page = await get(tab, "/roi/days?period=custom&since=2026-02-30&until=2026-10-30")

    assert (
        "O endereço diz since=2026-02-30, o que não é uma data como 2026-11-24. Mostramos 30/10/2026."
        in page.words
    )


CLOCKS_BACK = """
UPDATE ticket_tracking SET last_touch_at = '2026-11-01 04:30Z' WHERE meta_source_type = 'ad'
AND meta_ad_id IN (SELECT meta_ad_id FROM meta_ads WHERE meta_account_id = '3' ORDER BY meta_ad_id LIMIT 2)
"""


async def test_the_people_of_a_silent_day_are_those_whose_touch_lies_on_it_where_the_account_is(
    db: Database, world: World
):
    zones = ZONES | {"act_3": "America/Havana"}  # whose 1 November has its first hour twice
    since, until = date(2026, 9, 1), date(2026, 11, 10)
    await put(
        db, "UPDATE meta_ad_accounts SET timezone_name = %s WHERE ad_account_id = 'act_3'", zones["act_3"]
    )
    await put(db, CLOCKS_BACK)
    for account in zones:
        await emptied(world, db, account, since, until, "2026-11-20")
    read = [  # right at its end, or a second before
        (periods.begins(day + timedelta(days=1), zone) - timedelta(seconds=day.day % 2), day, account)
        for account, zone in zones.items()
        for day in periods.days(since, until)
    ]
    async with db.system() as conn, conn.cursor() as cursor:
        await cursor.executemany(
            """UPDATE insight_days SET fetched_at = %s WHERE day = %s
               AND account_id = (SELECT id FROM meta_ad_accounts WHERE ad_account_id = %s)""",
            read,
        )
    came = await rows(
        db,
        """SELECT ad_account_id, touched_at FROM ticket_facts f JOIN meta_ad_accounts a ON a.organization_id = f.organization_id
           AND a.ref = f.account_ref WHERE f.is_lead""",
    )
    by_day = Counter(
        (row["ad_account_id"], periods.day_in(row["touched_at"], zones[row["ad_account_id"]])) for row in came
    )
    async with db.tenant(world.shop.id) as conn:
        found = await silent.find(conn, world.shop.id, None, since, until)
        few = await silent.find(conn, world.shop.id, None, date(2026, 10, 5), date(2026, 10, 6))

    silence = [(each.ad_account_id, each.day, each.people) for each in found]
    assert silence == sorted(
        (account, day, people)
        for (account, day), people in by_day.items()
        if since <= day <= until and day.day % 2 == 0
    )
    assert {account for account, _, _ in silence} == {*zones}
    assert few == [each for each in found if each.day in (date(2026, 10, 5), date(2026, 10, 6))]


async def test_an_account_in_a_zone_that_this_machine_does_not_know_has_no_silent_day_and_breaks_nothing(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    since, until = date(2026, 9, 1), date(2026, 11, 10)
    period = f"period=custom&since={since}&until={until}"
    for account in ("act_1", "act_2"):
        await emptied(world, db, account, since, until, "2026-11-20")
    await put(db, "UPDATE meta_ad_accounts SET timezone_name = 'Mars/Olympus' WHERE ad_account_id = 'act_1'")
    _, by_account = await told(tab, since, until)
    pages = [await get(tab, f"{path}?{period}") for path in ("/roi", "/roi/days", "/roi/days/act_1")]
    async with db.tenant(world.shop.id) as conn:
        checked = await doctor._organization(conn, world.shop.organization)

    assert by_account["act_1"] == (0, 0)
    assert all(by_account["act_2"])
    assert [page.status for page in pages] == [200, 200, 200]
    assert checked


async def test_doctor_warns_of_zero_where_people_came(db: Database, world: World):
    async with db.tenant(world.shop.id) as conn:
        at = await clock(conn) - timedelta(days=3)
        await conn.execute(
            """UPDATE ticket_tracking SET last_touch_at = %s WHERE meta_source_type = 'ad' AND meta_ad_id IN
               (SELECT meta_ad_id FROM meta_ads WHERE meta_account_id = '1')""",
            [at],
        )
        await conn.execute(
            """INSERT INTO insight_accounts (organization_id, account_id) SELECT organization_id, id FROM meta_ad_accounts
               ON CONFLICT DO NOTHING"""
        )
    day = at.astimezone(ZoneInfo(ZONES["act_1"])).date()
    people = await emptied(world, db, "act_1", day, day, str(at + timedelta(days=2)))
    async with db.tenant(world.shop.id) as conn:
        found = await doctor._organization(conn, world.shop.organization)

    assert people
    said = f"Conta act_1 (act_1): Meta says no spend on 1 days on which {people} people came from its ads; see its days"
    assert ("warning", said) in [(each.state, each.detail) for each in found]


async def test_a_day_whose_rows_all_vanished_says_when_and_no_more_once_they_are_back(ledger: Ledger):
    await ledger.fetched()
    world, account = ledger.sandbox.world, ledger.sandbox.account
    day = max(day for day, _ in ledger.truth(but_today=True))
    was = len([ad for each, ad in await ledger.facts() if each == day])
    revise(world, account.id, day, day, None)
    await ledger.due()
    await ledger.fetched()
    (gone,) = [row for row in await ledger.days() if row["day"] == day]
    assert was
    assert (gone["rows"], gone["emptied_at"]) == (0, gone["fetched_at"])

    await ledger.due()
    await ledger.fetched()
    (still,) = [row for row in await ledger.days() if row["day"] == day]
    assert still["emptied_at"] == gone["emptied_at"] < still["fetched_at"]

    world.revisions.clear()
    await ledger.due()
    await ledger.fetched()
    (back,) = [row for row in await ledger.days() if row["day"] == day]
    assert (back["rows"], back["emptied_at"]) == (was, None)
    assert [row["day"] for row in await ledger.days() if row["emptied_at"]] == []
