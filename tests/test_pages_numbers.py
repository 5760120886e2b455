"""The numbers' settings over HTTP: whether each is alive, and what Meta's panel needs, for admins alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support import (
    PHONE,
    VERIFY_TOKEN,
    arrive,
    body,
    change,
    drain,
    make_shop,
    message,
    phone_number_id,
    process,
    rows,
)
from tests.test_pages_tickets import get, visiting
from whatrack import flow
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.contacts import activity
from whatrack.db import Database
from whatrack.inbox import intake, replay

HERE = "/settings/numbers"


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


async def hours(db: Database) -> list[dict[str, Any]]:
    return await rows(
        db, "SELECT phone_number_id, hour, messages, last_delivery_at FROM number_hours ORDER BY hour"
    )


async def test_a_number_shows_its_ids_its_last_delivery_and_the_days_messages(db: Database, service: str):
    shop = await make_shop(db)
    sent = [
        message(at=now() - timedelta(minutes=2)),
        message(at=now() - timedelta(hours=5)),
        message(at=now() - timedelta(hours=30)),
    ]
    await process(db, body(change(shop.number, *sent)))
    async with visiting(db, service, shop, "viewer") as browser:
        status, text = await get(browser, HERE)

    assert status == 200
    assert "+55 11 3555-0100" in text
    assert f">{shop.number}<" in text
    assert "Última entrega há" in text
    assert "Mensagens em 24 h</dt><dd" in text
    assert '<dd class="num">2</dd>' in text


async def test_a_number_that_nothing_came_for_says_what_to_check(db: Database, service: str):
    shop = await make_shop(db)
    async with visiting(db, service, shop, "viewer") as browser:
        _, text = await get(browser, HERE)

    assert "Nenhuma entrega nos últimos 31 dias" in text
    assert "confira no painel da Meta" in text


async def test_an_organization_without_numbers_says_so(db: Database, service: str):
    shop = await make_shop(db)
    async with db.system() as conn:
        await conn.execute("DELETE FROM whatsapp_numbers")
    async with visiting(db, service, shop, "admin") as browser:
        _, text = await get(browser, HERE)

    assert "Nenhum número ainda." in text
    assert "Como ligar o WhatsApp ao WhaTrack" in text


@pytest.mark.parametrize(
    ("role", "sees"), [("viewer", False), ("agent", False), ("admin", True), ("owner", True)]
)
async def test_what_metas_panel_needs_is_for_admins(db: Database, service: str, role: str, sees: bool):
    shop = await make_shop(db)
    async with visiting(db, service, shop, role) as browser:
        _, text = await get(browser, HERE)

    assert (VERIFY_TOKEN in text) == sees
    assert (f'data-copy="http://localhost:3000{intake.PATH}"' in text) == sees
    assert ("number add --org loja" in text) == sees
    assert "entregas em quarentena na instalação" not in text
    if sees:
        assert "a Meta só entrega em https" in text


async def test_numbers_of_another_organization_are_not_there(db: Database, service: str):
    ours, theirs = await make_shop(db, "nossa"), await make_shop(db, "deles")
    await process(db, body(change(theirs.number, message(at=now()))))
    async with visiting(db, service, ours, "owner") as browser:
        _, text = await get(browser, HERE)

    assert ours.number in text
    assert theirs.number not in text
    assert "Nenhuma entrega" in text


async def test_operators_see_how_much_is_quarantined_everywhere(db: Database, service: str):
    shop = await make_shop(db)
    await process(db, body(change("777000777", message())), body(change("777000778", message())))
    async with visiting(db, service, shop, "viewer") as browser:
        async with db.system() as conn:
            await conn.execute("UPDATE users SET is_operator = true")
        _, text = await get(browser, HERE)

    assert "2 entregas em quarentena na instalação" in text


async def test_messages_are_counted_once_however_often_they_come(db: Database):
    shop = await make_shop(db)
    bodies = [
        body(change(shop.number, message(at=now()), message("5511900000001", at=now() - timedelta(hours=2)))),
        body(change(shop.number, statuses=[{"id": "w", "status": "sent", "timestamp": "1760000000"}])),
    ]
    await process(db, *bodies)
    once = await hours(db)

    await process(db, *bodies)
    await arrive(db, bodies[0])
    async with db.installation() as conn:
        ids = [row[0] for row in await (await conn.execute("SELECT id FROM webhook_deliveries")).fetchall()]
        await replay.replay_ids(conn, ids)
    await drain(db, limit=1)

    assert sum(hour["messages"] for hour in once) == 2
    assert [hour["messages"] for hour in await hours(db)] == [hour["messages"] for hour in once]


async def test_history_and_what_is_older_than_a_month_do_not_count(db: Database):
    shop = await make_shop(db)
    thread = {"threads": [{"id": PHONE, "messages": [message(at=now())]}]}
    await process(
        db,
        body(change(shop.number, message("5511900000001", at=now() - timedelta(days=40)))),
        body(change(shop.number, field="history", history=[thread])),
    )

    assert len(await rows(db, "SELECT FROM messages")) == 2
    assert sum(hour["messages"] for hour in await hours(db)) == 0


async def test_hours_older_than_a_month_are_forgotten(db: Database):
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message(at=now()))))
    async with db.system() as conn:
        await conn.execute(
            "INSERT INTO number_hours VALUES (%s, %s, now() - interval '32 days', 5, NULL)",
            [shop.id, shop.number],
        )
        dropped = await activity.drop_old(conn)

    assert dropped == 1
    assert sum(hour["messages"] for hour in await hours(db)) == 1


async def test_two_organizations_with_one_account_count_apart(db: Database):
    ours, theirs = await make_shop(db, "nossa"), await make_shop(db, "deles")
    second = phone_number_id()
    await flow.register_number(db, WhatsappNumber(ours.id, second, "1", "+55 11 3555-0200"))
    await process(
        db,
        body(change(ours.number, message(at=now())), change(second, message("5511900000001", at=now()))),
        body(change(theirs.number, message("5511900000002", at=now()))),
    )

    found = {}
    for shop in (ours, theirs):
        async with db.tenant(shop.id) as conn:
            alive = await activity.of_organization(conn, shop.id)
        found[shop.id] = {number: each.messages_24h for number, each in alive.items()}
    assert found == {ours.id: {ours.number: 1, second: 1}, theirs.id: {theirs.number: 1}}
