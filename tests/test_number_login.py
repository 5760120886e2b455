"""A WhatsApp number by its token: live at once, its quarantine released, and every way to be refused."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.connecting import Office, a_meta_and_service, an_office, colleague
from tests.support import SEALER, body, change, drain, make_shop, message, process, rows, tickets
from tests.test_connections import round_of
from whatrack.db import Database
from whatrack.sandbox.build import WHATSAPP_SCOPES, issue_token
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import Token

NEW = "/settings/numbers/new"


@pytest.fixture(scope="module")
def running(conninfo: str) -> Iterator[tuple[Sandbox, str, str]]:
    with a_meta_and_service(conninfo) as found:
        yield found


@pytest.fixture
async def office(db: Database, running: tuple[Sandbox, str, str]) -> AsyncIterator[Office]:
    """An organization that has no number yet."""
    async with an_office(db, *running) as found:
        async with db.system() as conn:
            await conn.execute("DELETE FROM number_routes")
            await conn.execute("DELETE FROM whatsapp_numbers")
        yield found


def system_token(office: Office, *scopes: str) -> Token:
    cast = office.sandbox.cast
    office.sandbox.world.grants.pop((cast.whatsapp_app.id, cast.system_user.id), None)
    return issue_token(
        office.sandbox.world, cast.whatsapp_app, cast.system_user, scopes, None, kind="SYSTEM_USER"
    )


async def test_a_number_is_live_at_once_with_dataset_and_what_waited_for_it(office: Office):
    sandbox, cast = office.sandbox, office.sandbox.cast
    sandbox.cast.whatsapp_app.require_proof = True
    await process(office.db, body(change(cast.number.id, message()), waba=cast.waba.id))
    assert await tickets(office.db) == []

    status, _, where = await office.post(
        NEW, phone_number_id=cast.number.id, token=sandbox.number_token.value, waba_id=""
    )
    assert (status, where) == (303, "/settings/numbers")
    await drain(office.db)

    assert len(await tickets(office.db)) == 1
    (row,) = await rows(office.db, "SELECT * FROM whatsapp_numbers")
    assert (row["waba_id"], row["display_phone"], row["verified_name"]) == (
        cast.waba.id,
        cast.number.display,
        cast.number.verified_name,
    )
    assert (row["dataset_id"], row["dataset_reason"]) == (cast.waba.dataset_id, None)
    assert SEALER.open(row["token"]) == sandbox.number_token.value
    assert list(cast.waba.subscribed) == [cast.whatsapp_app.id]
    (deed,) = await rows(office.db, "SELECT * FROM audit_log")
    assert deed["action"] == "number_connected"
    assert sandbox.number_token.value not in str(deed)

    _, text = await office.page("/settings/numbers")
    assert str(cast.waba.dataset_id) in text
    assert "Funcionando" in text

    # From here on the account's route is open with the number's token, even without a profile that sends events.
    await office.connect(cast.thiago)
    _, found = await office.configure(is_active=True)
    assert found["routes"] == [
        {
            "waba_id": cast.waba.id,
            "dataset_id": cast.waba.dataset_id,
            "source": "waba",
            "token_of": "number",
            "missing": [],
        }
    ]


async def test_a_dataset_is_made_for_a_whatsapp_account_that_has_none(office: Office):
    cast = office.sandbox.cast
    token = office.sandbox.number_token.value
    assert cast.other_waba.dataset_id is None
    assert (await office.post(NEW, phone_number_id=cast.other_number.id, token=token))[0] == 303
    (row,) = await rows(office.db, "SELECT dataset_id FROM whatsapp_numbers")
    assert row["dataset_id"] == cast.other_waba.dataset_id is not None


async def test_a_number_without_permission_for_events_is_live_and_says_what_its_dataset_lacks(office: Office):
    token = system_token(office, "whatsapp_business_management", "whatsapp_business_messaging")
    number = office.sandbox.cast.number.id
    assert (await office.post(NEW, phone_number_id=number, token=token.value))[0] == 303
    (row,) = await rows(office.db, "SELECT dataset_id, dataset_reason FROM whatsapp_numbers")
    assert row == {"dataset_id": None, "dataset_reason": "events_permission_missing"}


@pytest.mark.parametrize(
    ("case", "field", "words"),
    [
        ("dead", "token", "encerrada"),
        ("nonsense", "token", "A Meta não aceita mais este token"),
        ("short", "token", "Isto não é um token"),
        ("no permission", "token", "whatsapp_business_management"),
        ("of ads", "phone_number_id", "Este token não vê um número"),
        ("unknown number", "phone_number_id", "Este token não vê um número"),
        ("not digits", "phone_number_id", "só tem números"),
        ("someone else's", "phone_number_id", "Este token não vê um número"),
        ("another waba", "phone_number_id", "Este token não vê um número"),
    ],
)
async def test_a_number_is_refused_beside_the_field_at_fault(
    office: Office, case: str, field: str, words: str
):
    sandbox, cast = office.sandbox, office.sandbox.cast
    token, number, waba = sandbox.number_token.value, cast.number.id, ""
    match case:
        case "dead":
            sandbox.world.tokens[token].trouble = 467
        case "nonsense":
            token = "EAA" + "x" * 60
        case "short":
            token = "EAA"
        case "no permission":
            token = system_token(office, "whatsapp_business_messaging").value
        case "of ads":
            waba, token = (
                cast.waba.id,
                issue_token(sandbox.world, cast.ads_app, cast.viviane, WHATSAPP_SCOPES, 9000).value,
            )
        case "unknown number":
            number = "1234567890"
        case "not digits":
            number = "+55 11 3555-0100"
        case "someone else's":
            cast.system_user.business_ids.remove(cast.clinic.id)
        case "another waba":
            waba = cast.other_waba.id
    status, text, _ = await office.post(NEW, phone_number_id=number, token=token, waba_id=waba)
    assert status == 422
    assert words in text.partition(f'id="{field}-error"')[2][:400], text
    assert token not in text.replace('"EAA"', "") or case == "short"
    assert await rows(office.db, "SELECT * FROM whatsapp_numbers") == []
    assert await rows(office.db, "SELECT * FROM number_routes") == []


async def test_a_number_that_is_live_elsewhere_is_refused_and_nothing_is_kept(office: Office):
    cast = office.sandbox.cast
    await make_shop(office.db, "outra", number=cast.number.id, waba=cast.waba.id)
    status, text, _ = await office.post(
        NEW, phone_number_id=cast.number.id, token=office.sandbox.number_token.value
    )
    assert status == 422
    assert (
        "Este número já está ativo em outra organização." in text.partition('id="phone_number_id-error"')[2]
    )
    (row,) = await rows(office.db, "SELECT token FROM whatsapp_numbers")
    assert row["token"] is None


async def test_when_meta_is_away_the_form_says_so_above_all(office: Office):
    office.sandbox.faults.inject("server_error", times=None)
    status, text, _ = await office.post(
        NEW, phone_number_id=office.sandbox.cast.number.id, token=office.sandbox.number_token.value
    )
    assert status == 422
    assert "A Meta está com problemas agora." in text
    office.sandbox.faults.clear()


async def test_only_admins_connect_a_number(office: Office):
    async with colleague(office, "agent") as agent:
        assert (await agent.page(NEW))[0] == 403
        assert (await agent.post(NEW, phone_number_id="1", token="x"))[0] == 403


async def test_a_numbers_token_is_checked_and_given_anew(office: Office):
    cast, token = office.sandbox.cast, office.sandbox.number_token
    await office.post(NEW, phone_number_id=cast.number.id, token=token.value)
    token.trouble = 460
    async with office.db.system() as conn:
        await conn.execute("UPDATE whatsapp_numbers SET check_after = now()")
    await round_of(office, "_check")
    (row,) = await rows(office.db, "SELECT token_status, token_reason FROM whatsapp_numbers")
    assert row == {"token_status": "EXPIRED", "token_reason": "password_changed"}

    fresh = system_token(office, *WHATSAPP_SCOPES)
    await office.post(NEW, phone_number_id=cast.number.id, token=fresh.value)
    (row,) = await rows(office.db, "SELECT token_status, token_reason FROM whatsapp_numbers")
    assert row == {"token_status": "ACTIVE", "token_reason": None}
