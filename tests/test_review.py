"""Bodies that once came out wrong: each a message or delivery that was lost, or credited to somebody else."""

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.support import NOON, WABA, ad, body, change, make_shop, message, process, rows, tickets
from whatrack.db import Database


async def test_a_number_given_to_somebody_else_does_not_join_their_first_owner(db: Database):
    shop = await make_shop(db)
    system = {"wa_id": "12195555358", "user_id": "US.p2", "type": "user_changed_number"}
    await process(db, body(change(shop.number, message("16505550000", user_id="US.p1", referral=ad("50")))))
    await process(
        db, body(change(shop.number, message("16505550000", user_id="US.p1", type="system", system=system)))
    )

    await process(
        db,
        body(
            change(
                shop.number,
                message("16505550000", user_id="US.other", at=NOON + timedelta(hours=1), referral=ad("59")),
            )
        ),
    )
    await process(db, body(change(shop.number, message("16505550000", at=NOON + timedelta(hours=2)))))

    found = sorted(await tickets(db), key=lambda ticket: ticket["meta_ad_id"])
    assert [(ticket["meta_ad_id"], ticket["user_id"]) for ticket in found] == [
        ("50", "US.p2"),
        ("59", "US.other"),
    ]
    assert found[1]["last_message_at"] == NOON + timedelta(hours=2)


async def test_a_change_without_a_field_name_loses_no_message(db: Database):
    shop = await make_shop(db)
    odd = {**change(shop.number, message(referral=ad("1"))), "field": None}

    await process(db, body(odd))

    assert [ticket["meta_ad_id"] for ticket in await tickets(db)] == ["1"]


@pytest.mark.parametrize("kind", [None, 5, {"a": 1}], ids=["null", "number", "object"])
async def test_an_odd_type_loses_no_message(db: Database, kind: object):
    shop = await make_shop(db)

    await process(db, body(change(shop.number, {**message(referral=ad("1")), "type": kind})))

    assert [ticket["meta_ad_id"] for ticket in await tickets(db)] == ["1"]


async def test_a_click_id_that_is_a_number_is_kept_as_text(db: Database):
    shop = await make_shop(db)

    await process(
        db, body(change(shop.number, message(referral={**ad("1"), "ctwa_clid": 12345678901234567890})))
    )

    assert [ticket["ctwa_clid"] for ticket in await tickets(db)] == ["12345678901234567890"]


async def test_an_ad_click_without_any_id_is_still_an_ad_click(db: Database):
    shop = await make_shop(db)

    await process(db, body(change(shop.number, message(referral={"source_type": "ad", "headline": "Oi"}))))

    (ticket,) = await tickets(db)
    assert (ticket["meta_source_type"], ticket["meta_ad_id"], ticket["headline"]) == ("ad", None, "Oi")
    assert ticket["meta_enrichment_status"] == "NOT_APPLICABLE"
    assert len(await rows(db, "SELECT * FROM meta_attribution_history")) == 1


@pytest.mark.parametrize(
    "odd",
    [{"contacts": "x"}, {"statuses": {}}, {"message_echoes": 7}],
    ids=["contacts", "statuses", "echoes"],
)
async def test_one_odd_list_takes_no_other_with_it_and_is_reported(db: Database, odd: dict[str, Any]):
    shop = await make_shop(db)

    await process(db, body(change(shop.number, message(referral=ad("1")), **odd)))

    assert [ticket["meta_ad_id"] for ticket in await tickets(db)] == ["1"]
    (failed,) = await rows(db, "SELECT reason, detail FROM delivery_exceptions")
    assert (failed["reason"], failed["detail"]) == (
        "bad_value",
        f"not of the expected type: {next(iter(odd))}",
    )


@pytest.mark.parametrize(
    "entry",
    [None, {"id": {}, "changes": []}, {"id": WABA, "changes": {}}],
    ids=["null", "odd id", "odd changes"],
)
async def test_an_odd_entry_takes_no_other_with_it(db: Database, entry: object):
    shop = await make_shop(db)
    whole = json.loads(body(change(shop.number, message(referral=ad("1")))))
    whole["entry"].insert(0, entry)
    whole["entry"][1]["time"] = 1.5

    await process(db, json.dumps(whole).encode())

    assert [ticket["meta_ad_id"] for ticket in await tickets(db)] == ["1"]
