"""Deliveries become contacts, tickets and touches: the rules, one by one, on a real database."""

from datetime import timedelta

import pytest

from tests.support import NOON, PHONE, ad, body, change, make_shop, message, process, published, rows, tickets
from whatrack.db import Database


async def test_a_published_ad_click_becomes_an_attributed_ticket(db: Database):
    shop = await make_shop(db)

    await process(db, published("docs_messages_text__click_to_whatsapp_ad", shop.number))

    (ticket,) = await tickets(db)
    assert (ticket["name"], ticket["wa_id"]) == ("Sheena Nelson", "16505551234")
    assert ticket["meta_source_type"] == "ad"
    assert ticket["meta_ad_id"] == "120226305854810726"
    assert ticket["ctwa_clid"].startswith("Aff-n8ZTODiE79d22KtAwQKj9e_mIEOOj27vDVwFjN80dp4")
    assert ticket["meta_placement"] == "image"
    assert ticket["meta_enrichment_status"] == "PENDING"
    assert ticket["welcome_message"] == "Hi there! Let us know how we can help!"
    (touch,) = await rows(db, "SELECT * FROM meta_attribution_history")
    assert (touch["decision"], touch["old_ad_id"], touch["new_ad_id"]) == (
        "first_touch",
        None,
        "120226305854810726",
    )


async def test_the_same_delivery_again_changes_nothing(db: Database):
    shop = await make_shop(db)
    delivery = body(change(shop.number, message(referral=ad())))

    await process(db, delivery)
    before = await tickets(db)
    await process(db, delivery, delivery)

    assert await tickets(db) == before
    assert len(await rows(db, "SELECT * FROM messages")) == 1


async def test_last_touch_replaces_all_touch_fields_together(db: Database):
    shop = await make_shop(db)
    post = {"source_type": "post", "source_id": "777", "headline": "Post"}

    await process(db, body(change(shop.number, message(referral=ad("1", "clid-a")))))
    await process(db, body(change(shop.number, message(at=NOON + timedelta(hours=1), referral=post))))

    (ticket,) = await tickets(db)
    assert (ticket["meta_source_type"], ticket["meta_ad_id"], ticket["ctwa_clid"]) == ("post", None, None)
    assert (ticket["source_id"], ticket["headline"], ticket["meta_placement"]) == ("777", "Post", None)
    assert ticket["meta_enrichment_status"] == "NOT_APPLICABLE"
    assert (ticket["first_source_id"], ticket["first_ctwa_clid"]) == ("1", "clid-a")


async def test_a_late_click_never_replaces_a_newer_one(db: Database):
    shop = await make_shop(db)

    await process(db, body(change(shop.number, message(at=NOON, referral=ad("2", "new")))))
    await process(
        db, body(change(shop.number, message(at=NOON - timedelta(hours=1), referral=ad("1", "old"))))
    )

    (ticket,) = await tickets(db)
    assert (ticket["meta_ad_id"], ticket["ctwa_clid"], ticket["first_source_id"]) == ("2", "new", "1")
    decisions = await rows(db, "SELECT decision FROM meta_attribution_history ORDER BY touched_at")
    assert [row["decision"] for row in decisions] == ["late", "first_touch"]


async def test_names_and_enrichment_are_forgotten_only_when_the_ad_changes(db: Database):
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message(referral=ad("1", "a")))))
    async with db.system() as conn:
        await conn.execute(
            "UPDATE ticket_tracking SET meta_enrichment_status = 'COMPLETED', meta_ad_name = 'Verão'"
        )

    await process(
        db, body(change(shop.number, message(at=NOON + timedelta(minutes=1), referral=ad("1", "b"))))
    )
    (same,) = await tickets(db)
    await process(
        db, body(change(shop.number, message(at=NOON + timedelta(minutes=2), referral=ad("2", "c"))))
    )
    (other,) = await tickets(db)

    assert (same["meta_ad_name"], same["meta_enrichment_status"], same["ctwa_clid"]) == (
        "Verão",
        "COMPLETED",
        "b",
    )
    assert (other["meta_ad_name"], other["meta_enrichment_status"], other["ctwa_clid"]) == (
        None,
        "PENDING",
        "c",
    )


@pytest.mark.parametrize("clid", [None, ""], ids=["absent", "empty"])
async def test_an_ad_without_click_id_still_gets_the_credit(db: Database, clid: str | None):
    shop = await make_shop(db)

    await process(db, body(change(shop.number, message(referral=ad("1", clid)))))

    (ticket,) = await tickets(db)
    assert (ticket["meta_source_type"], ticket["meta_ad_id"], ticket["ctwa_clid"]) == ("ad", "1", None)


async def test_a_null_click_id_is_absent_and_a_4_kb_one_survives_byte_for_byte(db: Database):
    shop = await make_shop(db)
    long = "Ä/+é" * 1024

    await process(db, body(change(shop.number, message(referral={**ad("1"), "ctwa_clid": None}))))
    await process(db, body(change(shop.number, message("5511900000002", referral=ad("1", long)))))

    found = await tickets(db)
    assert {ticket["ctwa_clid"] for ticket in found} == {None, long}


async def test_a_brazilian_mobile_is_one_person_with_and_without_the_ninth_digit(db: Database):
    shop = await make_shop(db)

    await process(
        db,
        body(
            change(
                shop.number, message("551187654321"), message("5511987654321", at=NOON + timedelta(1 / 24))
            )
        ),
    )
    await process(db, body(change(shop.number, message("551133334444"), message("5511933334444"))))

    assert [row["wa_id"] for row in await rows(db, "SELECT wa_id FROM contacts ORDER BY wa_id")] == [
        "551133334444",
        "551187654321",
        "5511933334444",
    ]
    assert len(await tickets(db)) == 3


async def test_a_person_known_by_two_ids_becomes_one_when_a_message_carries_both(db: Database):
    shop = await make_shop(db)
    first = message(PHONE, referral=ad("1", "by-phone"))
    second = message(None, user_id="BR.150", at=NOON + timedelta(minutes=1))
    both = message(PHONE, user_id="BR.150", at=NOON + timedelta(minutes=2))

    await process(db, body(change(shop.number, first)), body(change(shop.number, second)))
    assert len(await tickets(db)) == 2
    await process(db, body(change(shop.number, both)))

    found = await tickets(db)
    assert len({ticket["contact_id"] for ticket in found}) == 1
    assert sorted((ticket["status"], ticket["close_reason"]) for ticket in found) == [
        ("closed", "MERGED"),
        ("open", None),
    ]
    merged = await rows(db, "SELECT contact_id FROM contact_identities")
    assert len({row["contact_id"] for row in merged}) == 1


async def test_a_changed_number_keeps_the_person(db: Database):
    shop = await make_shop(db)
    system = {"body": "changed", "wa_id": "12195555358", "type": "user_changed_number"}

    await process(db, body(change(shop.number, message("16505551234"))))
    await process(db, body(change(shop.number, message("16505551234", type="system", system=system))))
    await process(db, body(change(shop.number, message("12195555358", at=NOON + timedelta(hours=1)))))

    (ticket,) = await tickets(db)
    assert ticket["wa_id"] == "12195555358"
    assert ticket["last_message_at"] == NOON + timedelta(hours=1)


async def test_expiry_on_arrival_closes_at_last_message_plus_days_and_opens_anew(db: Database):
    shop = await make_shop(db)
    old = NOON - timedelta(days=40)

    await process(db, body(change(shop.number, message(at=old, referral=ad("1")))))
    await process(db, body(change(shop.number, message(at=NOON))))

    first, second = await tickets(db)
    assert (first["status"], first["close_reason"], first["closed_at"]) == (
        "closed",
        "EXPIRED",
        old + timedelta(days=30),
    )
    assert (second["status"], second["meta_source_type"], second["meta_ad_id"]) == ("open", "organic", None)


async def test_a_late_message_dated_before_the_expiry_joins_the_expired_ticket(db: Database):
    shop = await make_shop(db)
    old = NOON - timedelta(days=40)
    await process(db, body(change(shop.number, message(at=old))))
    await process(db, body(change(shop.number, message(at=NOON))))

    await process(db, body(change(shop.number, message(at=old + timedelta(days=2), referral=ad("9")))))

    first, second = await tickets(db)
    assert (first["last_message_at"], first["meta_ad_id"]) == (old + timedelta(days=2), "9")
    assert first["closed_at"] == old + timedelta(days=32)
    assert (second["last_message_at"], second["meta_ad_id"]) == (NOON, None)


async def test_the_sweep_expires_by_the_databases_clock_and_a_late_message_gives_the_ticket_back(
    db: Database,
):
    shop = await make_shop(db)
    almost = NOON - timedelta(days=30)
    await process(db, body(change(shop.number, message(at=almost))))
    from whatrack.tickets.store import expire_due

    async with db.system() as conn:
        assert await expire_due(conn, 100) == 1
    (swept,) = await tickets(db)
    await process(db, body(change(shop.number, message(at=almost + timedelta(minutes=5)))))

    assert (swept["close_reason"], swept["closed_at"]) == ("EXPIRED", almost + timedelta(days=30))
    (joined,) = await tickets(db)
    assert joined["last_message_at"] == almost + timedelta(minutes=5)
    assert joined["id"] == swept["id"]


async def test_echoes_history_and_groups_never_make_a_lead(db: Database):
    shop = await make_shop(db)
    echo = {
        "from": "551135550100",
        "to": PHONE,
        "id": "e1",
        "timestamp": str(int(NOON.timestamp())),
        "type": "text",
    }

    await process(
        db,
        body(change(shop.number, field="smb_message_echoes", message_echoes=[echo])),
        published(
            "docs_embedded_signup_onboarding_business_app_users__example_payload_chat_history_sharing_app",
            shop.number,
        ),
        published(
            "docs_embedded_signup_onboarding_business_app_users__example_payload_for_media_message_asset",
            shop.number,
        ),
        body(change(shop.number, message("5511900000003", group_id="g1", referral=ad()))),
    )

    assert await tickets(db) == []
    origins = await rows(db, "SELECT origin, count(*) FROM messages GROUP BY 1 ORDER BY 1")
    assert {row["origin"]: row["count"] for row in origins} == {"echo": 1, "group": 1, "history": 4}


async def test_an_echo_keeps_an_open_ticket_alive(db: Database):
    shop = await make_shop(db)
    later = NOON + timedelta(hours=2)
    echo = {
        "from": "551135550100",
        "to": PHONE,
        "id": "e1",
        "timestamp": str(int(later.timestamp())),
        "type": "text",
    }

    await process(db, body(change(shop.number, message())), body(change(shop.number, message_echoes=[echo])))

    (ticket,) = await tickets(db)
    assert ticket["last_message_at"] == later


async def test_a_referral_counts_on_any_type_known_or_not(db: Database):
    shop = await make_shop(db)
    kinds = ["image", "audio", "request_welcome", "unsupported", "reaction", "telepathy"]
    changes = [
        change(shop.number, message(f"55119000000{place:02}", type=kind, referral=ad(str(place + 1))))
        for place, kind in enumerate(kinds)
    ]

    await process(db, body(*changes))

    found = await tickets(db)
    assert sorted(ticket["meta_ad_id"] for ticket in found) == ["1", "2", "3", "4", "5", "6"]


async def test_statuses_are_counted_per_number_and_day_and_a_replay_counts_none_twice(db: Database):
    from tests.support import drain
    from whatrack.inbox import replay

    shop = await make_shop(db)
    await process(
        db,
        published("docs_messages_status__examples", shop.number),
        published("docs_messages_status__examples_2", shop.number),
    )
    async with db.installation() as conn:
        (ids,) = await rows(db, "SELECT array_agg(id) AS ids FROM webhook_deliveries")
        assert await replay.replay_ids(conn, ids["ids"]) == 2
    await drain(db)

    counted = await rows(db, "SELECT status, count, phone_number_id FROM number_day_counters ORDER BY status")
    assert [(row["status"], row["count"]) for row in counted] == [("sent", 2)]


async def test_every_published_body_is_taken_without_an_error(db: Database):
    from tests.support import PAYLOADS

    shop = await make_shop(db, waba="102290129340398")
    names = sorted(path.stem for path in PAYLOADS.glob("*.json"))

    await process(db, *(published(name, shop.number) for name in names))

    failed = await rows(db, "SELECT reason, detail FROM delivery_exceptions WHERE state = 'failed'")
    assert failed == []
    kept = {row["field"] for row in await rows(db, "SELECT field FROM webhook_events")}
    assert {
        "automatic_events",
        "user_preferences",
        "group_lifecycle_update",
        "message_template_status_update",
    } <= kept
