"""Last touch: what a referral proves, what it replaces, and what is written down about it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.support import NOON, ad, arrive, body, change, make_shop, message, process, rows, tickets
from whatrack import flow
from whatrack.attribution.touch import Touch, Tracking, credit, read_touch
from whatrack.contacts.messages import Months
from whatrack.db import Database
from whatrack.meta.webhook import Referral, Welcome

ORGANIZATION = UUID(int=1)
HOUR = timedelta(hours=1)


def touch(at: datetime = NOON, *, wamid: str = "w", **referral: Any) -> Touch:
    """The touch of an ad with id 1 and click id c, unless said otherwise."""
    found = read_touch(
        Referral(**({"source_type": "ad", "source_id": "1", "ctwa_clid": "c"} | referral)), at, wamid
    )
    assert found is not None
    return found


POST: dict[str, Any] = {"source_type": "post", "source_id": "77", "ctwa_clid": None}
UNKNOWN: dict[str, Any] = {"source_type": "story", "source_id": "9", "ctwa_clid": None}


def credited(*touches: Touch) -> tuple[Tracking, list[str]]:
    """A ticket's tracking after these touches, in this order, and what was decided about each."""
    tracking = Tracking(ORGANIZATION, UUID(int=2), is_new=True)
    return tracking, [credit(tracking, each).decision for each in touches]


@pytest.mark.parametrize(
    ("referral", "proves"),
    [
        pytest.param({"source_type": "ad", "source_id": "1", "ctwa_clid": "c"}, ("ad", "1", "1", "c"), id="ad"),
        pytest.param({"source_type": "ad", "source_id": "1"}, ("ad", "1", "1", None), id="ad in WhatsApp Status"),
        pytest.param({"source_type": "ad", "source_id": "1", "ctwa_clid": ""}, ("ad", "1", "1", None), id="empty click id"),
        pytest.param({"source_type": "ad", "source_id": "1", "ctwa_clid": "  "}, ("ad", "1", "1", None), id="blank click id"),
        pytest.param({"source_type": "AD", "source_id": "1"}, ("ad", "1", "1", None), id="capitals"),
        pytest.param({"source_type": "ad", "source_id": 1, "ctwa_clid": "c"}, ("ad", "1", "1", "c"), id="id as a number"),
        pytest.param({"source_type": "ad", "ctwa_clid": "c"}, ("ad", None, None, "c"), id="click without ad id"),
        pytest.param({"source_type": "post", "source_id": "7"}, ("post", None, "7", None), id="post"),
        pytest.param({"source_type": "post", "source_id": "7", "ctwa_clid": "c"}, ("post", None, "7", "c"), id="post with a click id of its own"),
        pytest.param({"source_id": "1", "ctwa_clid": "c"}, ("ad", "1", "1", "c"), id="no type, a click proves an ad"),
        pytest.param({"source_type": "story", "source_id": "1", "ctwa_clid": "c"}, ("ad", "1", "1", "c"), id="odd type, a click proves an ad"),
        pytest.param({"source_type": "story", "source_id": "9"}, ("organic", None, "9", None), id="odd type alone proves nothing"),
        pytest.param({"source_type": "ad", "source_id": "1" * 65}, ("ad", None, "1" * 65, None), id="no id of Meta's is that long"),
    ],
)  # fmt: skip
def test_a_referral_proves_a_touch(
    referral: dict[str, Any], proves: tuple[str, str | None, str | None, str | None]
):
    found = read_touch(Referral(**referral), NOON, "w")

    assert found is not None
    assert (found.source_type, found.ad_id, found.source_id, found.ctwa_clid) == proves


@pytest.mark.parametrize(
    "referral",
    [
        pytest.param(None, id="no referral"),
        pytest.param(Referral(), id="empty"),
        pytest.param(Referral(source_type="story", headline="Chat"), id="no id at all, of neither kind"),
        pytest.param(Referral(source_id=" ", ctwa_clid=""), id="blank ids"),
    ],
)
def test_a_referral_without_any_id_proves_nothing(referral: Referral | None):
    assert read_touch(referral, NOON, "w") is None


def test_a_click_id_is_kept_byte_for_byte():
    clid = " Ä/+é" * 1024

    assert touch(ctwa_clid=clid).ctwa_clid == clid


def test_a_touch_keeps_everything_the_referral_shows():
    found = touch(
        source_url="https://fb.me/x", headline="Chat", body="Fale", media_type="video", video_url="https://v",
        thumbnail_url="https://t", image_url="", welcome_message=Welcome("Oi"),
    )  # fmt: skip

    assert (found.source_url, found.headline, found.ad_body, found.placement) == (
        "https://fb.me/x",
        "Chat",
        "Fale",
        "video",
    )
    assert (found.image_url, found.video_url, found.thumbnail_url) == (None, "https://v", "https://t")
    assert found.welcome_message == "Oi"


@pytest.mark.parametrize(
    ("touches", "decisions", "credit_goes_to"),
    [
        pytest.param([touch()], ["first_touch"], ("1", "c"), id="first"),
        pytest.param([touch(), touch(NOON + HOUR, source_id="2", ctwa_clid="d")], ["first_touch", "new_ad"], ("2", "d"), id="newer ad"),
        pytest.param([touch(), touch(NOON + HOUR, ctwa_clid="d")], ["first_touch", "same_ad"], ("1", "d"), id="same ad, newer click"),
        pytest.param([touch(), touch(NOON + HOUR, ctwa_clid=None)], ["first_touch", "same_ad"], ("1", None), id="same ad, no click id"),
        pytest.param([touch(), touch(NOON, source_id="2")], ["first_touch", "new_ad"], ("2", "c"), id="same moment: the later to arrive"),
        pytest.param([touch(), touch(NOON - HOUR, source_id="2")], ["first_touch", "late"], ("1", "c"), id="older"),
        pytest.param([touch(), touch(NOON + HOUR, **POST)], ["first_touch", "new_ad"], (None, None), id="post after ad"),
        pytest.param([touch(**POST), touch(NOON + HOUR, **POST)], ["first_touch", "new_ad"], (None, None), id="post after post"),
        pytest.param([touch(), touch(NOON + HOUR, **UNKNOWN)], ["first_touch", "unrecognised"], ("1", "c"), id="unknown after ad"),
        pytest.param([touch(**UNKNOWN), touch(NOON - HOUR)], ["unrecognised", "first_touch"], ("1", "c"), id="unknown first"),
    ],
)  # fmt: skip
def test_the_newest_touch_gets_the_credit(
    touches: list[Touch], decisions: list[str], credit_goes_to: tuple[str | None, str | None]
):
    tracking, decided = credited(*touches)

    assert decided == decisions
    assert (tracking.ad_id, tracking.ctwa_clid) == credit_goes_to


def test_r3_a_late_older_touch_never_replaces_a_newer_one_and_may_become_the_first():
    """R3: elsewhere a replayed or late message overwrote a newer touch, because no times were compared."""
    newer, older = touch(NOON, wamid="new", source_id="2"), touch(NOON - HOUR, wamid="old")

    tracking, decisions = credited(newer, older)

    assert decisions == ["first_touch", "late"]
    assert (tracking.touch, tracking.last_touch_at, tracking.ad_id) == (newer, NOON, "2")
    assert (tracking.first, tracking.first_touch_at) == (older, NOON - HOUR)


def test_r4_a_post_is_not_an_ad_and_never_keeps_an_older_ads_click_id():
    """R4: elsewhere a post overwrote the ad's id but kept its click id, and counted as paid."""
    tracking, _ = credited(touch(), touch(NOON + HOUR, **POST))

    assert tracking.touch is not None
    assert (tracking.touch.source_type, tracking.touch.source_id) == ("post", "77")
    assert (tracking.ad_id, tracking.ctwa_clid, tracking.ad_changed) == (None, None, True)


async def test_r4_in_the_database_all_touch_fields_are_the_posts(db: Database):
    shop = await make_shop(db)

    await process(db, body(change(shop.number, message(referral=ad("1", "clid-of-the-ad")))))
    await process(
        db,
        body(
            change(shop.number, message(at=NOON + HOUR, referral={"source_type": "post", "source_id": "77"}))
        ),
    )

    (ticket,) = await tickets(db)
    assert (ticket["meta_source_type"], ticket["source_id"]) == ("post", "77")
    of_the_ad = ("meta_ad_id", "ctwa_clid", "headline", "source_url", "meta_placement")
    assert {ticket[name] for name in of_the_ad} == {None}


@pytest.mark.parametrize(
    ("touches", "changed"),
    [
        pytest.param([touch()], True, id="first ad"),
        pytest.param([touch(**POST)], False, id="first post"),
        pytest.param([touch(ctwa_clid="d", source_id=None)], False, id="click without ad id"),
    ],
)
def test_an_ad_is_looked_up_when_there_is_a_new_one(touches: list[Touch], changed: bool):
    assert credited(*touches)[0].ad_changed is changed


def test_the_same_ad_again_is_not_looked_up_again():
    stored = Tracking(
        ORGANIZATION, UUID(int=2), ad_id="1", ctwa_clid="c", last_touch_at=NOON, first_touch_at=NOON
    )

    decision = credit(stored, touch(NOON + HOUR, ctwa_clid="d"))

    assert (decision.decision, stored.ad_changed, stored.ctwa_clid) == ("same_ad", False, "d")
    assert (decision.old_ctwa_clid, decision.new_ctwa_clid) == ("c", "d")
    assert stored.first is None


async def test_r5_another_ad_forgets_the_names_of_the_one_before_at_once(db: Database):
    """R5: elsewhere the old campaign's names stayed beside the new ad's id until enrichment succeeded."""
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message(referral=ad("1")))))
    names = "meta_ad_name, meta_ad_set_name, meta_campaign_name, meta_ad_set_id, meta_campaign_id, meta_account_id"
    async with db.system() as conn:
        values = ", ".join(f"{name} = 'da campanha antiga'" for name in names.split(", "))
        await conn.execute(
            f"UPDATE ticket_tracking SET meta_enrichment_status = 'FAILED', meta_enrichment_error = 'x', {values}".encode()
        )

    await process(db, body(change(shop.number, message(at=NOON + HOUR, referral=ad("2")))))

    (row,) = await rows(
        db, f"SELECT meta_enrichment_status, meta_enrichment_error, {names} FROM ticket_tracking"
    )
    assert row.pop("meta_enrichment_status") == "PENDING"
    assert set(row.values()) == {None}


async def test_r2_a_ticket_and_what_enrichment_looks_for_become_visible_together(db: Database):
    """R2: elsewhere enrichment began inside the uncommitted transaction, saw no row yet, and was never tried again."""
    shop = await make_shop(db)
    await arrive(db, body(change(shop.number, message(referral=ad("1")))))
    await flow.route_in(db, 10)
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'meta_attribution_history'::regclass"

    async with db.autocommit() as conn, conn.transaction():
        await conn.execute("LOCK TABLE meta_attribution_history IN SHARE MODE")
        drained = asyncio.create_task(flow.message_in(db, Months(db), 10))
        while not await rows(
            db, waiting
        ):  # the drain has written ticket and tracking, and stands before its history
            await asyncio.sleep(0.01)
            assert not drained.done()
        before = await rows(db, "SELECT id FROM tickets UNION ALL SELECT ticket_id FROM ticket_tracking")
    await drained

    assert before == []
    (row,) = await rows(
        db, "SELECT meta_ad_id, meta_enrichment_status FROM tickets JOIN ticket_tracking ON ticket_id = id"
    )
    assert row == {"meta_ad_id": "1", "meta_enrichment_status": "PENDING"}
