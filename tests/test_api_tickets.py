"""/api/v1/tickets over HTTP: who may ask, what a list holds and finds, how tickets are opened and moved by hand."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tests.support import NOON, PHONE, Shop, ad, body, change, make_shop, message, process, rows
from whatrack.board.query import write_cursor
from whatrack.board.tickets import TRACKING_FIELDS
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Database
from whatrack.flow import register_number
from whatrack.tenants import api_keys, members, users
from whatrack.tickets.store import expire_due
from whatrack.units import new_id

TICKETS = "/api/v1/tickets"
MASKED = "•••••••••4321"
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


@dataclass(frozen=True)
class Answer:
    """What the service said."""

    status: int
    json: Any
    raw: bytes
    headers: Any

    @property
    def code(self) -> str:
        return str(self.json["code"])

    @property
    def fields(self) -> list[str]:
        return [each["field"] for each in self.json.get("errors", [])]


@dataclass(frozen=True)
class Api:
    """The API as the holder of one key sees it; without a key when it is None."""

    session: aiohttp.ClientSession
    key: str | None

    async def __call__(self, method: str, path: str, **options: Any) -> Answer:
        headers = {
            **({"Authorization": f"Bearer {self.key}"} if self.key else {}),
            **options.pop("headers", {}),
        }
        async with self.session.request(
            method, path, headers=headers, allow_redirects=False, **options
        ) as answer:
            raw = await answer.read()
            is_json = answer.content_type.endswith("json")
            return Answer(answer.status, await answer.json() if is_json else None, raw, answer.headers)

    async def get(self, path: str = TICKETS, **params: Any) -> Answer:
        return await self("GET", path, params=params)

    async def post(self, wa_id: str, **more: Any) -> Answer:
        return await self("POST", TICKETS, json={"contact": {"wa_id": wa_id}, **more})

    async def patch(self, ticket_id: str, **change: Any) -> Answer:
        return await self("PATCH", f"{TICKETS}/{ticket_id}", json=change)

    async def one(self, ticket_id: str) -> dict[str, Any]:
        answer = await self.get(f"{TICKETS}/{ticket_id}")
        assert answer.status == 200, answer.raw
        found: dict[str, Any] = answer.json
        return found

    async def ids(self, **params: Any) -> list[str]:
        answer = await self.get(**params)
        assert answer.status == 200, answer.raw
        return [ticket["id"] for ticket in answer.json["data"]]


@pytest.fixture
async def web(service: str) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client of the running service."""
    async with aiohttp.ClientSession(service) as session:
        yield session


async def key_of(db: Database, organization_id: UUID | None, role: str = "agent") -> str:
    async with db.installation() as conn:
        return (await api_keys.create(conn, organization_id, role))[1]


async def api_of(web: aiohttp.ClientSession, db: Database, shop: Shop, role: str = "agent") -> Api:
    return Api(web, await key_of(db, shop.id, role))


async def written(db: Database, shop: Shop, *phones: str, at: datetime = NOON) -> list[str]:
    """One ticket by a message of each phone; their ids in that order."""
    await process(db, body(change(shop.number, *(message(phone, at=at) for phone in phones))))
    found = await rows(
        db,
        "SELECT t.id, c.wa_id FROM tickets t JOIN contacts c ON c.id = t.contact_id WHERE t.organization_id = %s",
        shop.id,
    )
    ids = {row["wa_id"]: str(row["id"]) for row in found}
    return [ids[phone] for phone in phones]


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def wamid_of(phone: str) -> str:
    """A wamid as Meta makes it: base64 over a few bytes, the customer's number in the middle."""
    inside = (
        b"\x1c\x18"
        + bytes([len(phone)])
        + phone.encode()
        + b"\x15\x02\x00\x12\x18\x14"
        + b"3EB0A1B2C3D4E5F6A7B8"
    )
    return "wamid." + base64.b64encode(inside).decode()


# Who may ask


async def test_a_request_without_a_known_key_is_401_on_every_address(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    revoked = await key_of(db, shop.id)
    assert (await Api(web, revoked).get()).status == 200
    async with db.installation() as conn:
        await conn.execute("UPDATE api_key_hashes SET revoked_at = now()")
    stranger = Api(web, None)
    headers = [{}, {"Authorization": "Basic dTpw"}, {"Authorization": revoked}, {"Authorization": "Bearer"},
               {"Authorization": "Bearer "}, {"Authorization": f"Bearer {revoked}"}, {"Authorization": "Bearer wt_x y"},
               {"Authorization": "Bearer " + "x" * 6000}, {"Authorization": "Bearer é"}]  # fmt: skip
    ticket = f"{TICKETS}/{new_id()}"
    addresses = [("GET", TICKETS), ("POST", TICKETS), ("GET", ticket), ("PATCH", ticket), ("GET", f"{ticket}/timeline"),
                 ("GET", "/api/v1/deliveries"), ("POST", "/api/v1/deliveries/replay")]  # fmt: skip

    answers = [await stranger(method, path, headers=each) for each in headers for method, path in addresses]

    assert {answer.status for answer in answers} == {401}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    unknown = await Api(web, "wt_unknown").get()
    assert unknown.raw == (await Api(web, revoked).get()).raw  # revoked is not told from never known


async def test_the_operators_key_opens_no_organizations_tickets(web: aiohttp.ClientSession, db: Database):
    shop = await make_shop(db)
    (ticket,) = await written(db, shop, PHONE)
    operator = Api(web, await key_of(db, None, "operator"))

    answers = [await operator.get(), await operator.get(f"{TICKETS}/{ticket}"), await operator.post(PHONE),
               await operator.patch(ticket, stage="lost"), await operator.get(f"{TICKETS}/{ticket}/timeline")]  # fmt: skip

    assert [answer.status for answer in answers] == [403] * 5


@pytest.mark.parametrize("role", ["agent", "admin", "owner"])
async def test_who_sells_may_open_and_move(web: aiohttp.ClientSession, db: Database, role: str):
    api = await api_of(web, db, await make_shop(db), role)

    opened = await api.post(PHONE)
    moved = await api.patch(opened.json["id"], stage="qualified")

    assert (opened.status, moved.status, moved.json["stage"]["name"]) == (201, 200, "Qualificado")
    assert opened.json["contact"]["wa_id"] == PHONE


async def test_a_viewer_changes_nothing_and_reads_no_number_in_full(web: aiohttp.ClientSession, db: Database):
    shop = await make_shop(db)
    click = message(PHONE, referral=ad(), wamid=wamid_of(PHONE), text="Quanto custa?")
    await process(db, body(change(shop.number, click)))
    viewer, agent = await api_of(web, db, shop, "viewer"), await api_of(web, db, shop)
    (ticket,) = await agent.ids()

    refused = [await viewer.patch(ticket, stage="lost"), await viewer.post("5511900000001")]
    read = [
        await viewer.get(),
        await viewer.get(f"{TICKETS}/{ticket}"),
        await viewer.get(f"{TICKETS}/{ticket}/timeline"),
    ]

    assert [answer.status for answer in refused] == [403, 403]
    assert [answer.status for answer in read] == [200, 200, 200]
    assert read[0].json["data"][0]["contact"]["wa_id"] == read[1].json["contact"]["wa_id"] == MASKED
    assert [(each["kind"], each["wamid"]) for each in read[2].json["data"]] in (
        [("touch", None), ("message", None)],
        [("message", None), ("touch", None)],
    )
    for answer in (*refused, *read):
        assert PHONE[-8:].encode() not in answer.raw
        assert wamid_of(PHONE).encode() not in answer.raw
    story = await agent.get(f"{TICKETS}/{ticket}/timeline")
    assert {each["wamid"] for each in story.json["data"]} == {wamid_of(PHONE)}
    assert (await agent.one(ticket))["version"] == 1


async def test_another_organizations_ticket_is_answered_like_one_that_is_not_there(
    web: aiohttp.ClientSession, db: Database
):
    (theirs,) = await written(db, await make_shop(db, "loja-b"), PHONE)
    api = await api_of(web, db, await make_shop(db, "loja-a"), "owner")
    unknown = str(new_id())

    for method, path, json in (
        ("GET", "", None),
        ("GET", "/timeline", None),
        ("PATCH", "", {"stage": "lost"}),
        ("PATCH", "", {"stage": "no such stage"}),
        ("PATCH", "", {}),
    ):
        other = await api(method, f"{TICKETS}/{theirs}{path}", json=json)
        missing = await api(method, f"{TICKETS}/{unknown}{path}", json=json)

        assert (other.status, other.raw) == (404, missing.raw)
        said, unsaid = (
            {name.lower(): value for name, value in each.headers.items()} for each in (other, missing)
        )
        assert {**said, "date": ""} == {**unsaid, "date": ""}  # two seconds may lie between them
    assert await api.ids() == []
    assert (await rows(db, "SELECT version, status FROM tickets")) == [{"version": 1, "status": "open"}]


# The list


async def test_a_ticket_has_exactly_the_promised_shape(web: aiohttp.ClientSession, db: Database):
    shop = await make_shop(db)
    click = message(PHONE, user_id="BR.150", referral=ad("77", "Aff-1", welcome_message={"text": "Oi"}))
    await process(db, body(change(shop.number, click)))
    api = await api_of(web, db, shop)
    (ticket_id,) = await api.ids()
    await api.patch(ticket_id, stage="ganho", deal_value="199.9")

    page = (await api.get()).json

    assert set(page) == {"data", "next"}
    assert page["next"] is None
    (ticket,) = page["data"]
    assert ticket == await api.one(ticket_id)
    assert set(ticket) == {
        "id", "status", "close_reason", "lost_reason", "stage", "deal_value", "currency", "phone_number_id", "source",
        "follow_up", "owner", "contact", "tracking", "opened_at", "last_message_at", "closed_at", "won_at", "version",
        "created_at", "updated_at", "conversion_events",
    }  # fmt: skip
    assert (ticket["status"], ticket["close_reason"]) == ("closed", "WON")
    assert ticket["deal_value"] == "199.90"
    assert ticket["currency"] == "BRL"
    assert ticket["contact"] == {"wa_id": PHONE, "user_id": "BR.150", "name": "Pessoa 4321"}
    stage = ticket["stage"]
    assert (set(stage), stage["name"], stage["group"], stage["role"]) == (
        {"id", "name", "group", "role"}, "Ganho", "WON", "won",
    )  # fmt: skip
    assert set(ticket["tracking"]) == set(TRACKING_FIELDS) >= {
        "meta_ad_id", "meta_ad_set_id", "meta_campaign_id", "meta_account_id", "meta_ad_name", "meta_ad_set_name",
        "meta_campaign_name", "meta_placement", "meta_source_type", "meta_enrichment_status", "meta_enrichment_error",
        "last_enrichment_at", "meta_ad_id_at_enrichment", "ctwa_clid",
    }  # fmt: skip
    assert (ticket["tracking"]["meta_ad_id"], ticket["tracking"]["ctwa_clid"]) == ("77", "Aff-1")
    times = {
        name: value for name, value in (ticket | ticket["tracking"]).items() if name.endswith("_at") and value
    }
    assert {"opened_at", "last_message_at", "closed_at", "won_at", "last_touch_at"} <= set(times)
    assert all(value.endswith("Z") and UTC_TIME.fullmatch(value) for value in times.values())
    assert datetime.fromisoformat(ticket["opened_at"]) == NOON


async def test_each_filter_finds_its_tickets_and_all_of_them_together(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    phones = ("5511900000001", "5511900000002", "5511900000003")
    clicks = [message(phone, referral=ad(str(place))) for place, phone in enumerate(phones)]
    await process(db, body(change(shop.number, *clicks)))
    api = await api_of(web, db, shop)
    first, second, third = await written(db, shop, *phones)
    async with db.system() as conn:
        await conn.execute(
            """UPDATE ticket_tracking SET meta_campaign_id = '900', meta_campaign_name = 'Verão 25'
               WHERE meta_ad_id IN ('0', '1')"""
        )
    await api.patch(first, stage="won", deal_value="10")
    await api.patch(second, stage="qualified")
    proposal = (await api.patch(third, stage="Proposta")).json["stage"]["id"]

    assert set(await api.ids(status="open")) == {second, third}
    assert await api.ids(status="closed") == [first]
    for stage in (proposal, proposal.upper(), "proposta", "PROPOSTA", " Proposta "):
        assert await api.ids(stage=stage) == [third]
    assert await api.ids(stage="QUALIFIED") == await api.ids(stage="qualificado") == [second]
    assert set(await api.ids(campaign="900")) == set(await api.ids(campaign="Verão 25")) == {first, second}
    assert await api.ids(campaign="verao") == []
    assert await api.ids(ad="2") == [third]
    assert await api.ids(ad="") == await api.ids(ad="22") == []
    assert await api.ids(status="open", stage="qualified", campaign="900", ad="1", text="0001") == []
    assert await api.ids(status="open", stage="qualified", campaign="900", ad="1", text="pess 0003") == []
    assert await api.ids(status="open", stage="qualified", campaign="900", ad="1", text="pess 0002") == [
        second
    ]


async def test_text_finds_people_by_the_beginnings_of_words_and_by_their_phone(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    api = await api_of(web, db, shop)
    # One as WhatsApp keeps an old mobile, one with the ninth digit, a landline, an American; and a name without an end.
    people = {
        "old": ("551187654321", "João D'Ávila-Souza"),
        "new": ("5521971234567", "José Ção"),
        "land": ("551133334444", "ANA"),
        "us": ("16505551234", "Straße Müller"),
        "long": ("5531900000001", "a" * 60),
    }
    ids = {}
    for name, (phone, called) in people.items():
        opened = await api("POST", TICKETS, json={"contact": {"wa_id": phone, "name": called}})
        ids[name] = opened.json["id"]
    finds = {
        "old": ["joão", "JOAO", "joa", "d avila", "ávi sou", "souza joão", "551187654321", "5511987654321",
                "+55 (11) 98765-4321", "+55 11 8765-4321", "11987654321", "11 8765-4321", "987654321", "8765-4321", "87654"],
        "new": ["josé cao", "ção", "5521971234567", "552197123456", "55219712", "552171234567", "2171234567", "2197123456",
                "21971234567", "971234567", "71234567", "(21) 7123-4567"],
        "land": ["ana", "An", "551133334444", "1133334444", "3333-4444"],
        "us": ["STRASSE", "strass", "muller", "mu\u0308ller", "+1 650 555 1234", "16505551234", "05551234"],
        "long": ["a" * 39, "a" * 40, "a" * 60, "a" * 90],
    }  # fmt: skip

    found = {(name, text): await api.ids(text=text) for name, texts in finds.items() for text in texts}

    assert {key: value for key, value in found.items() if value != [ids[key[0]]]} == {}
    for text in (
        "vila",
        "oão",
        "4321",
        "7654321",
        "zzz",
        "joão zzz",
        "!!!",
        "+",
        "😀",
        "%",
        "_",
        "*",
        "\\",
        "'",
    ):
        assert await api.ids(text=text) == [], text
    assert len(await api.ids(text="")) == len(await api.ids(text="   ")) == 5


async def test_a_filter_that_is_unknown_or_cannot_be_read_is_refused_by_its_name(
    web: aiohttp.ClientSession, db: Database
):
    api = await api_of(web, db, await make_shop(db))
    huge = "x" * 10_000
    refused: list[tuple[str, str]] = [
        ("phone", "1"), ("Status", "open"), ("status", "OPEN"), ("status", ""), ("status", huge),
        ("stage", "nenhuma"), ("stage", ""), ("stage", "\x00"), ("stage", huge), ("stage", str(new_id())),
        ("campaign", "\x00"), ("campaign", huge), ("ad", "1\x00"), ("ad", huge), ("text", "a\x00b"), ("text", huge),
        ("limit", "0"), ("limit", "201"), ("limit", "-1"), ("limit", "1.5"), ("limit", "ten"), ("limit", "9" * 400),
        ("cursor", "x"), ("cursor", "é"), ("cursor", "\x00"), ("cursor", huge), ("cursor", "AAAA"),
        ("cursor", base64.urlsafe_b64encode(b"2026-01-01T00:00:00+00:00 not-an-id").decode()),
        ("cursor", base64.urlsafe_b64encode(f"yesterday {new_id()}".encode()).decode()),
        ("cursor", base64.urlsafe_b64encode(b"\xff\xfe").decode()),
    ]  # fmt: skip

    answers = [(await api.get(**{name: value}), name, value) for name, value in refused]

    for answer, name, value in answers:
        assert (answer.status, answer.fields) == (422, [name]), (name, value[:20])
        assert huge.encode() not in answer.raw
    page, story = await api.get(limit=200), await api.get(f"{TICKETS}/{new_id()}/timeline", limit=501)
    assert (page.status, story.status, story.fields) == (200, 422, ["limit"])


async def test_a_cursor_of_any_moment_and_zone_is_an_answer_never_an_error(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    (ticket,) = await written(db, shop, PHONE)
    api = await api_of(web, db, shop)

    for moment in (
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-23:59",
        "2026-01-01T00:00:00+23:59",
        "2026-01-01",
    ):
        cursor = base64.urlsafe_b64encode(f"{moment} {new_id()}".encode()).decode()
        assert (await api.get(cursor=cursor)).status == 200
        assert (await api.get(f"{TICKETS}/{ticket}/timeline", cursor=cursor)).status == 200
    assert await api.ids(cursor=write_cursor(NOON + timedelta(days=1), ticket)) == [ticket]


async def test_paging_gives_every_ticket_once_while_new_ones_come(web: aiohttp.ClientSession, db: Database):
    shop = await make_shop(db)
    phones = [f"5511900000{place:03}" for place in range(120)]
    # Ten share each second: the id decides between them.
    clicks = [message(phone, at=NOON + timedelta(seconds=place // 10)) for place, phone in enumerate(phones)]
    await process(db, body(change(shop.number, *clicks)))
    api = await api_of(web, db, shop)
    whole = await api.ids(limit=200)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    pages = 0

    while True:
        page = (await api.get(limit=7, **cursor)).json
        seen += [ticket["id"] for ticket in page["data"]]
        pages += 1
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
        await api.post(f"55219{pages:08}")

    assert len(whole) == len(set(whole)) == 120
    assert seen == whole
    assert pages == 18
    assert len(await api.ids(limit=200)) == 120 + pages - 1
    ends = (await api.get(limit=120, text="5511")).json  # a page that ends where the list does
    assert (len(ends["data"]), ends["next"]) == (120, None)


# Opening by hand


async def test_a_ticket_opened_by_hand_for_somebody_new_is_complete_and_found(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    api = await api_of(web, db, shop)
    contact = {"wa_id": "+55 (11) 98765-4321", "name": "Zé Ninguém"}

    opened = await api("POST", TICKETS, json={"contact": contact})

    assert opened.status == 201
    ticket = opened.json
    assert ticket["contact"] == {"wa_id": PHONE, "user_id": None, "name": "Zé Ninguém"}
    assert (ticket["status"], ticket["source"], ticket["stage"]["role"]) == ("open", "manual", "new")
    assert (ticket["phone_number_id"], ticket["last_message_at"], ticket["follow_up"]) == (
        shop.number,
        None,
        False,
    )
    assert (ticket["tracking"]["meta_source_type"], ticket["tracking"]["meta_enrichment_status"]) == (
        "organic",
        "NOT_APPLICABLE",
    )
    assert await api.ids(text="ze nin") == await api.ids(text="8765-4321") == [ticket["id"]]
    # What they write now comes into this ticket, also without the ninth digit.
    await process(
        db, body(change(shop.number, message("551187654321", at=datetime.now(UTC), referral=ad("5"))))
    )
    joined = await api.one(ticket["id"])
    assert (joined["last_message_at"] is not None, joined["tracking"]["meta_ad_id"]) == (True, "5")
    assert await api.ids() == [ticket["id"]]


async def test_a_known_contact_with_an_open_ticket_is_409_with_its_id(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    (ticket,) = await written(db, shop, "551187654321")
    api = await api_of(web, db, shop)

    again = [await api.post(phone) for phone in ("551187654321", "5511987654321", "+55 11 98765-4321")]

    assert [(answer.status, answer.code) for answer in again] == [(409, "open_ticket_exists")] * 3
    assert all(ticket in answer.json["detail"] for answer in again)
    assert (await api.patch(ticket, stage="perdido")).status == 200
    anew = await api.post("5511987654321")
    assert anew.status == 201
    assert anew.json["contact"]["wa_id"] == "551187654321"  # the same person, as Meta writes them
    assert len(await rows(db, "SELECT FROM contacts")) == 1


async def test_the_number_is_inferred_when_there_is_one_and_asked_for_when_there_are_more(
    web: aiohttp.ClientSession, db: Database
):
    shop, other = await make_shop(db), await make_shop(db, "outra")
    api = await api_of(web, db, shop)
    alone = await api.post("5511900000001")
    await register_number(db, WhatsappNumber(shop.id, "424242", "1", "+55 11 4242-4242"))

    unsaid = await api.post("5511900000002")
    foreign = await api.post("5511900000002", phone_number_id=other.number)
    absurd = await api.post("5511900000002", phone_number_id="x" * 400)
    said = await api.post("5511900000001", phone_number_id="424242")

    assert (alone.status, alone.json["phone_number_id"]) == (201, shop.number)
    assert [(each.status, each.fields) for each in (unsaid, foreign, absurd)] == [
        (422, ["phone_number_id"])
    ] * 3
    assert (said.status, said.json["phone_number_id"]) == (
        201,
        "424242",
    )  # one open ticket per contact and number
    assert len(await rows(db, "SELECT FROM contacts")) == 1


async def test_a_ticket_may_be_opened_straight_into_ganho_with_a_value_only(
    web: aiohttp.ClientSession, db: Database
):
    api = await api_of(web, db, await make_shop(db))

    without = await api.post(PHONE, stage="Ganho")
    nothing_left = await rows(db, "SELECT FROM contacts")
    won = await api.post(PHONE, stage="Ganho", deal_value="1234.5", currency="USD")
    lost = await api.post(PHONE, stage="Perdido", lost_reason="Preço")

    assert (without.status, without.code, without.fields) == (422, "deal_value_required", ["deal_value"])
    assert nothing_left == []
    assert (won.status, won.json["status"], won.json["close_reason"]) == (201, "closed", "WON")
    assert (won.json["deal_value"], won.json["currency"]) == ("1234.50", "USD")
    assert (lost.json["close_reason"], lost.json["lost_reason"]) == ("LOST", "Preço")


async def test_many_openings_at_once_for_one_person_make_one_ticket(web: aiohttp.ClientSession, db: Database):
    api = await api_of(web, db, await make_shop(db))
    phones = ["551187654321", "5511987654321"] * 4

    answers = await asyncio.gather(*(api.post(phone) for phone in phones))

    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    (ticket,) = await api.ids()
    assert {answer.code for answer in answers if answer.status == 409} == {"open_ticket_exists"}
    assert all(ticket in answer.json["detail"] for answer in answers if answer.status == 409)
    assert len(await rows(db, "SELECT FROM contacts")) == 1


async def test_a_new_ticket_that_cannot_be_read_names_the_field(web: aiohttp.ClientSession, db: Database):
    api = await api_of(web, db, await make_shop(db))
    fine = {"wa_id": PHONE}
    cases: list[tuple[object, str]] = [
        ({}, "contact"), ({"contact": {}}, "contact.wa_id"), ({"contact": None}, "contact"), ([], "body"), ("x", "body"),
        ({"contact": fine, "zzz": 1}, "zzz"), ({"contact": {**fine, "zzz": 1}}, "contact.zzz"),
        ({"contact": {**fine, "name": ""}}, "contact.name"), ({"contact": {**fine, "name": "a\x00b"}}, "contact.name"),
        ({"contact": {**fine, "name": "x" * 201}}, "contact.name"), ({"contact": fine, "stage": "nenhuma"}, "stage"),
        ({"contact": fine, "phone_number_id": "1\x002"}, "phone_number_id"), ({"contact": fine, "version": 7}, "version"),
        *[({"contact": {"wa_id": phone}}, "contact.wa_id") for phone in (
            "", "abc", "1", "........", "+       1", "123456", "5" * 16, "5" * 10_000, "55119\x00", "٥٥١١٩٨٧٦٥٤٣٢١", 5511987654321)],
    ]  # fmt: skip

    answers = [await api("POST", TICKETS, json=json) for json, _ in cases]

    assert [(answer.status in (409, 422), answer.fields) for answer in answers] == [
        (True, [field]) for _, field in cases
    ]
    assert await rows(db, "SELECT FROM contacts") == []


# Moving


async def test_what_a_change_may_not_hold_is_422_by_its_field_and_changes_nothing(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    (ticket,) = await written(db, shop, PHONE)
    api = await api_of(web, db, shop)
    now = datetime.now(UTC)
    before = await api.one(ticket)
    won = {"stage": "ganho", "deal_value": "10"}
    not_text: list[Any] = [199.90, 5, True, [], {}]
    cases: list[tuple[dict[str, Any], str]] = [
        *[({"stage": "ganho", "deal_value": value}, "deal_value") for value in (
            "199,90", "1.234,56", "1,234.56", "-1", "0", "0.00", "1e3", "123456789012", "12345678901.00", "1.999", ".5",
            "5.", "+5", " 5", "5 ", "R$ 5", "", "٥", "NaN", "Infinity", "\x00", "1\n", "1" * 10_000)],
        *[({**won, "won_at": value}, "won_at") for value in (
            iso(now + timedelta(minutes=5)), iso(NOON - timedelta(seconds=1)), now.replace(tzinfo=None).isoformat(),
            "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "yesterday", "", "2026-02-30T00:00:00Z")],
        ({**won, "won_at": 1e15}, "won_at"), ({**won, "currency": 5}, "currency"), ({"stage": 3}, "stage"),
        *[({"stage": "ganho", "deal_value": value}, "deal_value") for value in not_text],
        *[({**won, "currency": value}, "currency") for value in ("brl", "R$", "REAL", "", "ＢＲＬ", "BR\x00")],
        *[({"stage": value}, "stage") for value in ("nenhuma", "", "\x00", "x" * 10_000, str(new_id()))],
        ({"stage": "perdido", "lost_reason": "x" * 501}, "lost_reason"),
        ({"stage": "perdido", "lost_reason": "\x00"}, "lost_reason"), ({"lost_reason": "Preço"}, "lost_reason"),
        ({"stage": "ganho", "deal_value": "1", "lost_reason": "Preço"}, "lost_reason"),
        ({"stage": "qualificado", "won_at": iso(now)}, "won_at"), ({"won_at": iso(now)}, "won_at"),
        ({"stage": "perdido", "status": "closed"}, "status"), ({"contact": {"name": "x"}}, "contact"),
        ({"version": "one"}, "version"), ({"version": 1.5}, "version"),
    ]  # fmt: skip

    answers = [await api.patch(ticket, **change) for change, _ in cases]

    assert [(answer.status, answer.fields) for answer in answers] == [(422, [field]) for _, field in cases]
    assert await api.one(ticket) == before
    unknown = (await api.patch(ticket, stage="nenhuma")).json["detail"]
    assert all(name in unknown for name in ("Novo", "Qualificado", "Proposta", "Ganho", "Perdido"))
    missing = await api.patch(ticket, stage="Ganho")
    assert (missing.status, missing.code, missing.fields) == (422, "deal_value_required", ["deal_value"])


async def test_a_body_that_is_not_a_json_object_is_refused(web: aiohttp.ClientSession, db: Database):
    shop = await make_shop(db)
    (ticket,) = await written(db, shop, PHONE)
    api = await api_of(web, db, shop)
    json_type = {"Content-Type": "application/json"}
    texts = [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b'{"stage": "lost"', b'{"stage": NaN}', b'{"\\ud800": 1}',
             b'{"stage": "\\ud800"}', b'{"version": 1e999}', b"9" * 5000, b"[" * 50_000, b'{"stage":"lost","stage":[]}']  # fmt: skip

    answers = [await api("PATCH", f"{TICKETS}/{ticket}", data=text, headers=json_type) for text in texts]
    answers += [
        await api(
            "PATCH", f"{TICKETS}/{ticket}", data=b'{"stage": "lost"}', headers={"Content-Type": content_type}
        )
        for content_type in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "a/b/c",
        )
    ]

    assert [answer.status for answer in answers if answer.status not in (400, 422)] == []
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert answers[1].fields == ["body"]
    assert (await api.one(ticket))["version"] == 1


async def test_a_ticket_goes_through_its_stages_and_the_same_move_twice_changes_nothing(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    (ticket,) = await written(db, shop, PHONE)
    api = await api_of(web, db, shop)
    qualified = (await api.patch(ticket, stage="QUALIFIED")).json
    same = [await api.patch(ticket, stage=stage) for stage in ("qualificado", qualified["stage"]["id"])]
    nothing = await api("PATCH", f"{TICKETS}/{ticket}", json={})
    valued = (await api.patch(ticket, deal_value="1500")).json
    won = (await api.patch(ticket, stage="ganho")).json
    again = [
        await api.patch(ticket, stage="ganho"),
        await api.patch(ticket, stage="won", deal_value="1500.00"),
    ]
    corrected = (await api.patch(ticket, deal_value="1400.5")).json

    assert (qualified["version"], qualified["status"]) == (2, "open")
    assert [answer.json for answer in (*same, nothing)] == [qualified] * 3
    assert (valued["deal_value"], valued["stage"]["role"], valued["version"]) == ("1500.00", "qualified", 3)
    assert (won["status"], won["close_reason"], won["deal_value"], won["version"]) == (
        "closed",
        "WON",
        "1500.00",
        4,
    )
    assert won["won_at"] == won["closed_at"]
    assert [answer.json for answer in again] == [won, won]
    assert (corrected["deal_value"], corrected["won_at"], corrected["version"]) == (
        "1400.50",
        won["won_at"],
        5,
    )
    moves = await rows(db, "SELECT from_stage, to_stage FROM ticket_stage_changes ORDER BY changed_at")
    assert [(row["from_stage"], row["to_stage"]) for row in moves] == [
        ("Novo", "Qualificado"),
        ("Qualificado", "Ganho"),
    ]


async def test_won_at_may_lie_between_the_tickets_opening_and_now_in_any_zone(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    opened_at, sold_at = NOON - timedelta(days=9), NOON - timedelta(days=8)
    (ticket,) = await written(db, shop, PHONE, at=opened_at)
    api = await api_of(web, db, shop)
    in_fiji = sold_at.astimezone(datetime.fromisoformat("2026-01-01T00:00:00+13:00").tzinfo).isoformat()

    won = await api.patch(ticket, stage="ganho", deal_value="10", won_at=in_fiji)
    moved = await api.patch(ticket, won_at=iso(opened_at))

    assert (won.status, datetime.fromisoformat(won.json["won_at"])) == (200, sold_at)
    assert won.json["won_at"].endswith("Z")
    assert datetime.fromisoformat(won.json["closed_at"]) > sold_at
    assert (moved.status, datetime.fromisoformat(moved.json["won_at"])) == (200, opened_at)


async def test_a_lost_ticket_keeps_its_reason_and_a_reopened_one_forgets_it(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    (ticket,) = await written(db, shop, PHONE)
    api = await api_of(web, db, shop)

    lost = (await api.patch(ticket, stage="perdido", lost_reason="Achou caro")).json
    reworded = (await api.patch(ticket, lost_reason="Achou muito caro")).json
    back = (await api.patch(ticket, stage="proposta")).json

    assert (lost["status"], lost["close_reason"], lost["lost_reason"]) == ("closed", "LOST", "Achou caro")
    assert (reworded["lost_reason"], reworded["closed_at"]) == ("Achou muito caro", lost["closed_at"])
    assert (back["status"], back["close_reason"], back["lost_reason"], back["closed_at"]) == (
        "open",
        None,
        None,
        None,
    )


async def test_a_closed_ticket_reopens_unless_the_contact_has_another_open(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    (first,) = await written(db, shop, PHONE)
    api = await api_of(web, db, shop)
    await api.patch(first, stage="ganho", deal_value="10")
    second = (await api.post(PHONE)).json["id"]

    taken = await api.patch(first, stage="novo")
    unchanged = await api.one(first)
    await api.patch(second, stage="perdido")
    reopened = await api.patch(first, stage="novo")

    assert (taken.status, taken.code) == (409, "open_ticket_exists")
    assert (unchanged["status"], unchanged["close_reason"]) == ("closed", "WON")
    assert (reopened.status, reopened.json["status"]) == (200, "open")
    assert (reopened.json["won_at"], reopened.json["deal_value"]) == (None, "10.00")


async def test_of_people_changing_at_once_with_one_version_exactly_one_wins(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    (ticket,) = await written(db, shop, PHONE)
    api = await api_of(web, db, shop)
    changes: list[dict[str, Any]] = [
        {"stage": "qualificado"}, {"stage": "perdido"}, {"stage": "ganho", "deal_value": "5"}, {"deal_value": "7"},
    ]  # fmt: skip

    answers = await asyncio.gather(*(api.patch(ticket, **change, version=1) for change in changes))

    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
    assert {(answer.code, *answer.fields) for answer in answers if answer.status == 409} == {
        ("stale", "version")
    }
    (winner,) = [answer.json for answer in answers if answer.status == 200]
    assert winner == await api.one(ticket)
    assert winner["version"] == 2
    for stale in (1, 0, -1, 10**30):
        assert (await api.patch(ticket, deal_value="8", version=stale)).code == "stale"
    assert (await api.patch(ticket, deal_value="8", version=2)).status == 200


async def test_a_ticket_is_given_to_a_member_with_its_move_or_alone_and_to_nobody_else(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    (ticket,) = await written(db, shop, PHONE)
    api = await api_of(web, db, shop)
    async with db.installation() as conn:
        julia, stranger = [
            await users.create(conn, email=f"{name}-{new_id()}@x.example", name=name, password_hash=None)
            for name in ("julia", "stranger")
        ]
    async with db.tenant(shop.id) as conn:
        await members.put(conn, shop.id, julia.id, "agent")

    given = await api.patch(ticket, stage="qualificado", owner=str(julia.id), version=1)
    assert (given.status, given.json["owner"]["id"], given.json["stage"]["role"]) == (
        200,
        str(julia.id),
        "qualified",
    )
    kept = await api.patch(ticket, deal_value="5", version=given.json["version"])
    assert kept.json["owner"] == given.json["owner"]

    refused = await api.patch(ticket, stage="perdido", owner=str(stranger.id))
    assert (refused.status, refused.code, refused.fields) == (422, "not_a_member", ["owner"])
    assert await api.one(ticket) == kept.json
    assert (await api.patch(ticket, owner=None, version=1)).code == "stale"
    assert (await api.patch(ticket, owner=None)).json["owner"] is None


async def expired(web: aiohttp.ClientSession, db: Database) -> tuple[Api, str]:
    """An agent and a ticket whose last message is 40 days old, swept."""
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message(PHONE, at=NOON - timedelta(days=40)))))
    async with db.system() as conn:
        await expire_due(conn, 100)
    api = await api_of(web, db, shop)
    (ticket,) = await api.ids(status="closed")
    return api, ticket


async def test_an_expired_ticket_can_still_be_valued_and_won(web: aiohttp.ClientSession, db: Database):
    api, ticket = await expired(web, db)

    valued = (await api.patch(ticket, deal_value="300")).json
    won = (await api.patch(ticket, stage="ganho")).json

    assert (valued["close_reason"], valued["deal_value"]) == ("EXPIRED", "300.00")
    assert (won["close_reason"], won["status"]) == ("WON", "closed")


async def test_an_expired_ticket_reopened_by_hand_is_not_swept_at_once(
    web: aiohttp.ClientSession, db: Database
):
    api, ticket = await expired(web, db)

    reopened = (await api.patch(ticket, stage="novo")).json
    async with db.system() as conn:
        swept = await expire_due(conn, 100)

    assert (reopened["status"], reopened["close_reason"], reopened["closed_at"]) == ("open", None, None)
    assert swept == 0
    assert await api.ids(status="open") == [ticket]
    (move,) = [
        each
        for each in (await api.get(f"{TICKETS}/{ticket}/timeline")).json["data"]
        if each["kind"] == "stage_move"
    ]
    assert (move["from"], move["to"]) == ("Novo", "Novo")


# The story


async def test_the_timeline_tells_messages_touches_with_their_rule_and_moves_in_order(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    minute = timedelta(minutes=1)
    said = [
        message(at=NOON, text="Oi", referral=ad("1", "a")),
        message(at=NOON + 2 * minute, text="De novo", referral=ad("2", "b")),
        message(at=NOON + 1 * minute, text="Atrasada", referral=ad("3", "c")),
        message(at=NOON + 3 * minute, text="E mais uma", referral=ad("2", "d")),
        message(at=NOON + 4 * minute, text="Tchau"),
    ]
    await process(db, *(body(change(shop.number, each)) for each in said))
    api = await api_of(web, db, shop)
    (ticket,) = await api.ids()
    await api.patch(ticket, stage="qualificado")
    await api.patch(ticket, stage="ganho", deal_value="99.9")
    address = f"{TICKETS}/{ticket}/timeline"

    story = (await api.get(address)).json
    paged: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while cursor or not paged:
        page = (await api.get(address, limit=2, **cursor)).json
        paged += page["data"]
        cursor = {"cursor": page["next"]} if page["next"] else {}

    # What is told to Meta may change between two readings.
    data = [each for each in story["data"] if each["kind"] != "conversion"]
    told = [each["event_name"] for each in story["data"] if each["kind"] == "conversion"]
    assert told == ["LeadSubmitted", "Purchase"]
    paged = [each for each in paged if each["kind"] != "conversion"]
    assert (story["next"], paged) == (None, data)
    times = [datetime.fromisoformat(each["at"]) for each in data]
    assert times == sorted(times)
    assert all(
        UTC_TIME.fullmatch(value)
        for each in data
        for name, value in each.items()
        if name.endswith("at") and value
    )
    assert [each["body"] for each in data if each["kind"] == "message"] == [
        "Oi",
        "Atrasada",
        "De novo",
        "E mais uma",
        "Tchau",
    ]
    touches = [each for each in data if each["kind"] == "touch"]
    assert [(each["decision"], each["new_ad_id"], each["new_ctwa_clid"]) for each in touches] == [
        ("first_touch", "1", "a"), ("late", "3", "c"), ("new_ad", "2", "b"), ("same_ad", "2", "d"),
    ]  # fmt: skip
    assert len({each["rule"] for each in touches}) == 4
    moves = [each for each in data if each["kind"] == "stage_move"]
    assert [(each["from"], each["to"], each["deal_value"]) for each in moves] == [
        ("Novo", "Qualificado", None), ("Qualificado", "Ganho", "99.90"),
    ]  # fmt: skip
    assert all(re.fullmatch(r"api_key:[0-9a-f-]{36}", each["actor"]) for each in moves)
    assert data[-2:] == moves


async def test_the_timeline_tells_when_a_ticket_expired(web: aiohttp.ClientSession, db: Database):
    api, ticket = await expired(web, db)

    data = (await api.get(f"{TICKETS}/{ticket}/timeline")).json["data"]

    assert [each["kind"] for each in data] == ["message", "expired"]
    assert datetime.fromisoformat(data[1]["at"]) == NOON - timedelta(days=10)


async def test_a_null_value_takes_the_value_away_but_not_from_a_sale(
    web: aiohttp.ClientSession, db: Database
):
    shop = await make_shop(db)
    await process(db, body(change(shop.number, message(PHONE, text="Oi"))))
    api = await api_of(web, db, shop)
    (ticket_id,) = await api.ids()
    await api.patch(ticket_id, deal_value="10")

    cleared = await api.patch(ticket_id, deal_value=None)
    await api.patch(ticket_id, stage="ganho", deal_value="10")
    refused = await api.patch(ticket_id, deal_value=None)

    assert (cleared.status, cleared.json["deal_value"]) == (200, None)
    assert (refused.status, refused.code) == (422, "deal_value_required")
    assert (await api.one(ticket_id))["deal_value"] == "10.00"
