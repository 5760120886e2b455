"""Which ad: names and account found per ad, with the token of whoever sees it, and a reason of its own for each that is not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.conversions import Desk, a_desk, connect, events, move, put, tickets_of
from tests.support import ad, body, change, message, process, rows, tickets
from whatrack import flow_connections
from whatrack.attribution.tracking import AT_ONCE, give_up_ads
from whatrack.connections.profiles import Login
from whatrack.db import Database
from whatrack.enrichment import catalog
from whatrack.sandbox.build import ADS_SCOPES, issue_token
from whatrack.sandbox.state import AdObject
from whatrack.sandbox.trouble import break_login, heal
from whatrack.units import new_id


@pytest.fixture
async def desk(db: Database) -> AsyncIterator[Desk]:
    async with a_desk(db) as made:
        yield made


async def tracking(db: Database) -> list[dict[str, Any]]:
    return await rows(db, "SELECT * FROM ticket_tracking ORDER BY ticket_id")


async def lookups(db: Database) -> dict[str, str]:
    return {row["meta_ad_id"]: row["reason"] for row in await rows(db, "SELECT * FROM meta_ad_lookups")}


def calls(desk: Desk) -> int:
    """How often the ads were asked for."""
    return sum(desk.sandbox.graph._calls.values())


async def test_names_ids_and_account_land_on_the_ticket_and_in_the_catalog(desk: Desk):
    wanted = desk.sandbox.ads()[0]
    await tickets_of(desk.db, desk.shop, "Aff-1", "Aff-2", ad_id=wanted.id)

    await desk.enriched()

    adset = desk.sandbox.world.nodes[wanted.parent_id or ""]
    for row in await tracking(desk.db):
        assert (row["meta_enrichment_status"], row["meta_enrichment_error"]) == ("COMPLETED", None)
        assert (row["meta_ad_name"], row["meta_account_id"]) == (wanted.name, desk.sandbox.account.id)
        assert (row["meta_ad_set_id"], row["meta_ad_set_name"]) == (adset.id, adset.name)  # type: ignore[union-attr]
        assert row["meta_campaign_id"]
        assert row["meta_campaign_name"]
        assert row["meta_ad_id_at_enrichment"] == wanted.id
        assert row["last_enrichment_at"] is not None
    (known,) = await rows(desk.db, "SELECT * FROM meta_ads")
    assert (known["meta_ad_id"], known["name"]) == (wanted.id, wanted.name)
    assert await lookups(desk.db) == {}


async def test_names_longer_than_an_index_holds_are_cut_and_stop_nothing(desk: Desk):
    wanted = desk.sandbox.ads()[0]
    of_it = [each for each in desk.sandbox.world.nodes.values() if isinstance(each, AdObject)]
    for place, each in enumerate(of_it):
        each.name = "".join(chr(0x1F300 + (n * 7 + place) % 900) for n in range(3000))  # does not compress
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id=wanted.id)

    await desk.enriched()
    assert [row["meta_enrichment_status"] for row in await tracking(desk.db)] == ["COMPLETED"]
    (known,) = await rows(desk.db, "SELECT * FROM meta_ads")
    assert known["name"] == wanted.name[:500]
    assert len(known["meta_ad_set_name"]) == len(known["meta_campaign_name"]) == 500


async def test_an_ad_is_asked_for_once_however_many_tickets_it_brings(desk: Desk):
    wanted = desk.sandbox.ads()[0]
    await tickets_of(desk.db, desk.shop, *[f"Aff-{n}" for n in range(6)], ad_id=wanted.id)
    await desk.enriched()
    before = calls(desk)
    await tickets_of(desk.db, desk.shop, "Aff-later", ad_id=wanted.id)
    await desk.enriched()

    assert before == 1
    assert calls(desk) == before  # known: no call
    assert {row["meta_enrichment_status"] for row in await tracking(desk.db)} == {"COMPLETED"}


async def test_the_tickets_of_a_great_ad_are_held_piece_by_piece_and_all_end(desk: Desk):
    ad_id = "120226305854810726"  # of no account that the profile sees
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id=ad_id)
    more = 2 * AT_ONCE
    async with desk.db.tenant(desk.shop.id) as conn:
        await conn.execute(
            """INSERT INTO ticket_tracking (organization_id, ticket_id, meta_source_type, meta_ad_id, meta_enrichment_status)
               SELECT %s, gen_random_uuid(), 'ad', %s, 'PENDING' FROM generate_series(1, %s)""",
            [desk.shop.id, ad_id, more],
        )
    async with desk.db.tenant(desk.shop.id) as conn:
        first = await give_up_ads(conn, desk.shop.id, {ad_id: "half_way"})
    await desk.enricher.step()

    assert first == AT_ONCE
    ended = [(row["meta_enrichment_status"], row["meta_enrichment_error"]) for row in await tracking(desk.db)]
    assert ended == [("FAILED", "no_access")] * (more + 1)


async def test_fifty_ads_are_one_call(desk: Desk):
    ads = [each.id for each in desk.sandbox.world.below(desk.sandbox.account.id, "ad")]
    for place, ad_id in enumerate(ads):
        await tickets_of(desk.db, desk.shop, f"Aff-{place}", ad_id=ad_id)

    await desk.enriched()

    assert len(ads) > 5
    assert calls(desk) == 1


async def test_each_that_cannot_be_named_ends_in_a_reason_of_its_own(desk: Desk):
    mine = desk.sandbox.ads()[0].id
    foreign = next(
        each for account in desk.sandbox.cast.viviane.account_ids if account not in desk.sandbox.cast.thiago.account_ids
        for each in desk.sandbox.ads(account)
    ).id  # fmt: skip
    a_campaign = str(desk.sandbox.world.nodes[desk.sandbox.ads()[0].parent_id or ""].id)
    for place, ad_id in enumerate((mine, foreign, a_campaign, "120999999999999999")):
        await tickets_of(desk.db, desk.shop, f"Aff-{place}", ad_id=ad_id)

    await desk.enriched()

    found = {
        row["meta_ad_id"]: (row["meta_enrichment_status"], row["meta_enrichment_error"])
        for row in await tracking(desk.db)
    }
    assert found[mine] == ("COMPLETED", None)
    assert found[foreign] == ("FAILED", "no_access")
    assert found["120999999999999999"] == ("FAILED", "no_access")
    assert found[a_campaign] == ("FAILED", "not_an_ad")
    async with desk.db.tenant(desk.shop.id) as conn:
        listed = await catalog.unnamed(conn, desk.shop.id)
    assert {(each.reason, each.tickets) for each in listed} == {("no_access", 1), ("not_an_ad", 1)}


async def test_a_deleted_ad_that_meta_still_tells_is_named_and_says_so(desk: Desk):
    deleted = desk.sandbox.ads()[:1]
    deleted[0].status = "DELETED"
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id=deleted[0].id)
    await desk.enriched()

    (row,) = await tracking(desk.db)
    assert (row["meta_enrichment_status"], row["meta_enrichment_error"], row["meta_ad_name"]) == (
        "COMPLETED",
        "deleted",
        deleted[0].name,
    )


async def test_without_a_profile_and_with_a_dead_one_it_says_which(desk: Desk):
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id=desk.sandbox.ads()[0].id)
    break_login(desk.sandbox.world, desk.sandbox.cast.thiago.id, "expired")
    await desk.enriched()
    assert [row["meta_enrichment_error"] for row in await tracking(desk.db)] == ["token_dead"]
    (profile,) = await rows(desk.db, "SELECT status FROM meta_connections")
    assert profile["status"] == "EXPIRED"

    await put(desk.db, "DELETE FROM meta_connections")
    await put(desk.db, "UPDATE meta_ad_lookups SET next_attempt_at = now()")
    await desk.enriched()
    assert [row["meta_enrichment_error"] for row in await tracking(desk.db)] == ["no_profile"]


async def test_each_profile_is_asked_until_one_sees_the_ad(desk: Desk):
    viviane = desk.sandbox.cast.viviane
    token = issue_token(desk.sandbox.world, desk.sandbox.cast.ads_app, viviane, ADS_SCOPES, None)
    await connect(desk, new_id(), token.value, viviane.id, "Viviane")
    hers = next(
        account for account in viviane.account_ids if account not in desk.sandbox.cast.thiago.account_ids
    )
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id=desk.sandbox.ads(hers)[0].id)

    await desk.enriched()

    assert [row["meta_account_id"] for row in await tracking(desk.db)] == [hers]


async def test_a_negative_answer_is_remembered_and_asked_again_with_growing_pauses(desk: Desk):
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id="120999999999999999")
    await desk.enriched()
    asked = calls(desk)
    await tickets_of(desk.db, desk.shop, "Aff-2", ad_id="120999999999999999")
    await desk.enriched()
    assert calls(desk) == asked  # the second ticket is told what is known
    assert {row["meta_enrichment_status"] for row in await tracking(desk.db)} == {"FAILED"}

    pauses = []
    for _ in range(3):
        (row,) = await rows(desk.db, "SELECT next_attempt_at - now() AS pause FROM meta_ad_lookups")
        pauses.append(round(row["pause"].total_seconds() / 60))
        await put(desk.db, "UPDATE meta_ad_lookups SET next_attempt_at = now()")
        await desk.enriched()
    assert pauses == [10, 60, 360]
    assert calls(desk) > asked


async def test_a_new_profile_has_what_was_refused_asked_again(desk: Desk):
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id=desk.sandbox.ads()[0].id)
    await put(desk.db, "UPDATE meta_connections SET status = 'EXPIRED', status_reason = 'token_expired'")
    await desk.enriched()
    assert [row["meta_enrichment_error"] for row in await tracking(desk.db)] == ["token_dead"]

    login = Login(
        fb_user_id=desk.sandbox.cast.thiago.id, fb_user_name="Thiago", sealed=desk.keys.seal(desk.sandbox.token.value),
        token_app_id=desk.sandbox.cast.ads_app.id, token_kind="USER", token_expires_at=None, data_access_expires_at=None,
        scopes=["ads_read"], declined=[],
    )  # fmt: skip
    await flow_connections.profile_connected(desk.db, desk.shop.id, login, "test")
    await desk.enriched()

    assert [row["meta_enrichment_status"] for row in await tracking(desk.db)] == ["COMPLETED"]


async def test_a_new_account_has_what_was_refused_asked_again(desk: Desk):
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id="120999999999999999")
    await desk.enriched()
    async with desk.db.system() as conn:
        assert await catalog.retry_with_new_accounts(conn) == 0
    await put(desk.db, "UPDATE meta_ad_accounts SET created_at = now() + interval '1 second'")
    async with desk.db.system() as conn:
        assert await catalog.retry_with_new_accounts(conn) == 1


@pytest.mark.parametrize(("kind", "reason"), [("throttle", "throttled"), ("server_error", "transient")])
async def test_trouble_leaves_the_ticket_waiting(desk: Desk, kind: str, reason: str):
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id=desk.sandbox.ads()[0].id)
    desk.sandbox.faults.inject(kind, times=None)
    await desk.enriched()
    assert [row["meta_enrichment_status"] for row in await tracking(desk.db)] == ["PENDING"]
    assert await lookups(desk.db) == {desk.sandbox.ads()[0].id: reason}

    desk.sandbox.faults.clear()
    desk.graph._resume_at.clear()
    await put(desk.db, "UPDATE meta_ad_lookups SET next_attempt_at = now()")
    await desk.enriched()
    assert [row["meta_enrichment_status"] for row in await tracking(desk.db)] == ["COMPLETED"]


async def test_an_answer_about_an_older_ad_never_overwrites_a_newer_touch(desk: Desk):
    first, second = (each.id for each in desk.sandbox.ads()[:2])
    (ticket,) = await tickets_of(desk.db, desk.shop, "Aff-1", ad_id=first)
    enricher = desk.enricher
    inner = enricher._ask

    async def meanwhile(question: Any) -> None:
        await inner(question)
        await put(desk.db, "UPDATE ticket_tracking SET meta_ad_id = %s WHERE meta_ad_id = %s", second, first)

    enricher._ask = meanwhile  # type: ignore[method-assign]
    await enricher.step()
    (row,) = await tracking(desk.db)
    assert (row["meta_enrichment_status"], row["meta_ad_name"], row["meta_ad_id"]) == (
        "PENDING",
        None,
        second,
    )

    await desk.enriched()

    (row,) = await tracking(desk.db)
    assert (row["meta_ad_name"], row["meta_ad_id_at_enrichment"]) == (desk.sandbox.ads()[1].name, second)
    assert {row["meta_ad_id"] for row in await rows(desk.db, "SELECT meta_ad_id FROM meta_ads")} == {
        first,
        second,
    }
    assert isinstance(ticket, UUID)


async def test_a_ticket_keeps_the_names_as_they_were_while_the_catalog_learns_todays(desk: Desk):
    wanted = desk.sandbox.ads()[0]
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id=wanted.id)
    await desk.enriched()
    before = wanted.name
    wanted.name = "Outro nome"
    await put(desk.db, "UPDATE meta_ads SET fetched_at = now() - interval '2 days'")

    assert await desk.enricher.refresh()
    assert not await desk.enricher.refresh()

    assert [row["meta_ad_name"] for row in await tracking(desk.db)] == [before]
    assert [row["name"] for row in await rows(desk.db, "SELECT name FROM meta_ads")] == ["Outro nome"]


@pytest.mark.parametrize("how", ["throttle", "server_error", "dead", "gone", "gone then seen"])
async def test_a_name_that_could_not_be_asked_for_anew_is_not_taken_for_deleted(desk: Desk, how: str):
    wanted = desk.sandbox.ads()[0]
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id=wanted.id)
    await desk.enriched()
    await put(desk.db, "UPDATE meta_ads SET fetched_at = now() - interval '2 days'")
    if how == "dead":
        await put(desk.db, "UPDATE meta_connections SET status = 'EXPIRED', status_reason = 'token_expired'")
    elif how.startswith("gone"):
        desk.sandbox.faults.inject("error", code=100, subcode=33, times=None)
    else:
        desk.sandbox.faults.inject(how, times=None)

    assert await desk.enricher.refresh()
    assert not await desk.enricher.refresh()  # not again at once: others' names wait too

    (known,) = await rows(desk.db, "SELECT * FROM meta_ads")
    assert (known["effective_status"] == "NOT_VISIBLE") == how.startswith("gone")
    assert known["name"] == wanted.name
    if not how.startswith("gone"):
        assert known["fetched_at"] < known["asked_at"] - timedelta(days=1)
    if how == "gone then seen":
        desk.sandbox.faults.clear()
        await put(desk.db, "UPDATE meta_ads SET fetched_at = now() - interval '2 days', asked_at = NULL")
        assert await desk.enricher.refresh()
        (known,) = await rows(desk.db, "SELECT * FROM meta_ads")
        assert known["effective_status"] == "ACTIVE"


async def test_an_event_that_waits_for_its_ad_goes_as_soon_as_the_ad_is_known(desk: Desk):
    (ticket,) = await tickets_of(desk.db, desk.shop, *desk.clicks(1), ad_id=desk.sandbox.ads()[0].id)
    await move(desk.db, desk.shop, ticket, "qualified")
    await desk.drained()
    assert (await events(desk.db))[0]["hold_reason"] == "enrichment"

    await desk.enriched()
    await desk.drained()

    assert (await events(desk.db))[0]["status"] == "SENT"


async def test_a_post_is_never_looked_up(desk: Desk):
    await process(
        desk.db, body(change(desk.shop.number, message(referral=ad("179", None, source_type="post"))))
    )
    await desk.enriched()

    assert calls(desk) == 0
    assert [row["meta_enrichment_status"] for row in await tickets(desk.db)] == ["NOT_APPLICABLE"]


async def test_two_workers_at_once_name_everything(desk: Desk):
    ads = [each.id for each in desk.sandbox.ads()] + [f"1209999999999{place:05d}" for place in range(60)]
    said = [
        message(f"5511988{place:06d}", referral=ad(each, f"Aff-{place}")) for place, each in enumerate(ads)
    ]
    await process(desk.db, body(change(desk.shop.number, *said)))

    await asyncio.gather(desk.enriched(), desk.enriched())
    await desk.enriched()

    found = {row["meta_ad_id"]: row["meta_enrichment_status"] for row in await tracking(desk.db)}
    seen = {each.id for each in desk.sandbox.ads()}
    assert found == {each: "COMPLETED" if each in seen else "FAILED" for each in ads}
    assert set(await lookups(desk.db)) == set(ads) - seen


async def test_two_workers_ask_for_each_ad_once(desk: Desk):
    await tickets_of(desk.db, desk.shop, "Aff-1", ad_id=desk.sandbox.ads()[0].id)
    async with desk.db.system() as conn:
        first = await catalog.lease(conn, desk.shop.id, [desk.sandbox.ads()[0].id])
    async with desk.db.system() as conn:
        second = await catalog.lease(conn, desk.shop.id, [desk.sandbox.ads()[0].id])

    assert (len(first), second) == (1, [])
    heal(desk.sandbox.world, desk.sandbox.cast.thiago.id)
