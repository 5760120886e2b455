"""The stages' settings over HTTP, without JavaScript unless a test says so: every rule, kept and refused."""

import asyncio
import re
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tests.support import Shop, body, change, make_shop, message, process, rows
from tests.test_pages_tickets import get, post, stage_id, visiting
from whatrack.db import Database
from whatrack.flow import move_ticket
from whatrack.tickets import stage_settings, stages
from whatrack.tickets.moves import Change
from whatrack.units import new_id

HERE = "/settings/stages"
NEW: dict[str, Any] = {
    "name": "Visita marcada",
    "group": "ACTIVE",
    "role": "",
    "probability": 40,
    "color": "pink",
}


async def stages_of(db: Database, shop: Shop) -> list[dict[str, Any]]:
    return await rows(db, "SELECT * FROM stages WHERE organization_id = %s ORDER BY position", shop.id)


async def names(db: Database, shop: Shop) -> list[str]:
    return [stage["name"] for stage in await stages_of(db, shop)]


async def deeds(db: Database, shop: Shop) -> list[tuple[str, dict[str, Any]]]:
    found = await rows(
        db, "SELECT action, detail FROM audit_log WHERE organization_id = %s ORDER BY at, id", shop.id
    )
    return [(deed["action"], deed["detail"]) for deed in found]


async def seen(browser: aiohttp.ClientSession, stage: UUID | str) -> str:
    _, text = await get(browser, f"{HERE}/{stage}")
    found = re.search(r'name="seen" value="(\w+)"', text)
    return found[1] if found else ""


async def save(browser: aiohttp.ClientSession, stage: UUID, **fields: Any) -> tuple[int, str, Any]:
    """Open the form of a stage and send it, with some fields as given."""
    mark = await seen(browser, stage)
    return await post(browser, f"{HERE}/{stage}", **{"seen": mark, **fields})


def as_form(stage: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {name: stage[name] or "" if name == "role" else stage[name] for name in NEW} | changed


async def fill(db: Database, shop: Shop, count: int) -> None:
    """So many new tickets."""
    await process(db, body(change(shop.number, *[message(f"55119000{place:05d}") for place in range(count)])))


async def test_everyone_sees_the_stages_in_the_boards_order_and_only_admins_the_buttons(
    db: Database, service: str
):
    shop = await make_shop(db)
    await fill(db, shop, 2)

    for role, may_change in (("viewer", False), ("agent", False), ("admin", True), ("owner", True)):
        async with visiting(db, service, shop, role) as browser:
            status, text = await get(browser, HERE)
        assert status == 200
        places = [text.index(f">{name}<") for name in ("Novo", "Qualificado", "Proposta", "Perdido")]
        assert places == sorted(places)
        assert re.search(r'data-label="Tickets"[^>]*>2<', text)
        assert ("Nova etapa" in text, "/shift" in text, "Remover" in text) == (may_change,) * 3


@pytest.mark.parametrize("role", ["viewer", "agent"])
async def test_who_is_no_admin_changes_nothing(db: Database, service: str, role: str):
    shop = await make_shop(db)
    before = await stages_of(db, shop)
    stage = await stage_id(db, shop, "qualified")
    async with visiting(db, service, shop, role) as browser:
        pages = [await get(browser, f"{HERE}{path}") for path in ("/new", f"/{stage}", f"/{stage}/remove")]
        forms = [
            await post(browser, f"{HERE}{path}", step="up", **NEW)
            for path in ("/new", f"/{stage}", f"/{stage}/remove", f"/{stage}/shift")
        ]

    assert {answer[0] for answer in [*pages, *forms]} == {403}
    assert await stages_of(db, shop) == before


async def test_another_organizations_stage_is_as_unknown_as_one_that_never_was(db: Database, service: str):
    shop, other = await make_shop(db, "loja"), await make_shop(db, "outra")
    before = await stages_of(db, other)
    theirs = await stage_id(db, other, "qualified")
    async with visiting(db, service, shop, "owner") as browser:
        for stage in (theirs, new_id()):
            for path in (f"/{stage}", f"/{stage}/remove"):
                assert (await get(browser, HERE + path))[0] == 404
                assert (await post(browser, HERE + path, **NEW))[0] == 404
            assert (await post(browser, f"{HERE}/{stage}/shift", step="up"))[0] == 404

    assert await stages_of(db, other) == before


async def test_a_stage_is_added_behind_the_last_of_its_group(db: Database, service: str):
    shop = await make_shop(db)
    async with visiting(db, service, shop, "admin") as browser:
        status, _, headers = await post(browser, f"{HERE}/new", **NEW)
        _, text = await get(browser, headers["location"])

    assert (status, headers["location"]) == (303, HERE)
    assert "Etapa Visita marcada adicionada." in text
    assert await names(db, shop) == ["Novo", "Qualificado", "Proposta", "Visita marcada", "Ganho", "Perdido"]
    added = (await stages_of(db, shop))[3]
    assert (added["group"], added["role"], added["probability"], added["color"]) == (
        "ACTIVE",
        None,
        40,
        "pink",
    )
    assert await deeds(db, shop) == [("stage_added", {**NEW, "role": None, "event_name": None})]


@pytest.mark.parametrize(
    ("wrong", "message_shown"),
    [
        ({"name": " "}, "Preencha este campo."),
        ({"name": "x" * 61}, "Use no máximo 60 caracteres."),
        ({"name": "nOVO"}, "Já existe uma etapa com este nome."),
        ({"group": "OPEN"}, "Escolha uma das opções."),
        ({"role": "boss"}, "Escolha uma das opções."),
        ({"role": "won"}, "Este papel é de outro grupo"),
        ({"group": "LOST", "role": "won"}, "Este papel é de outro grupo"),
        ({"group": "WON", "role": "new"}, "Este papel é de outro grupo"),
        ({"probability": "101"}, "Digite um número inteiro de 0 a 100."),
        ({"probability": "-1"}, "Digite um número inteiro de 0 a 100."),
        ({"probability": "meio"}, "Digite um número inteiro de 0 a 100."),
        ({"color": "black"}, "Escolha uma das opções."),
    ],
    ids=str,
)
async def test_a_stage_that_cannot_be_is_refused_beside_its_field(
    db: Database, service: str, wrong: dict[str, Any], message_shown: str
):
    shop = await make_shop(db)
    before = await stages_of(db, shop)
    typed = {**NEW, **wrong}
    async with visiting(db, service, shop, "admin") as browser:
        answers = [await post(browser, f"{HERE}/new", **typed)]
        stage = next(stage for stage in before if stage["name"] == "Proposta")
        answers.append(await save(browser, stage["id"], **typed))

    for status, text, _ in answers:
        assert status == 422
        (field,) = {"group": "group", "role": "role", **dict.fromkeys(wrong, next(iter(wrong)))}.keys() & {
            name for name in NEW if f'id="{name}-error"' in text
        }
        assert message_shown in text.partition(f'id="{field}-error"')[2]
        if typed["name"].strip():
            assert f'value="{typed["name"]}"' in text
    assert await stages_of(db, shop) == before
    assert await deeds(db, shop) == []


async def test_a_board_has_at_most_thirty_stages(db: Database, service: str):
    shop = await make_shop(db)
    async with visiting(db, service, shop, "admin") as browser:
        for number in range(stage_settings.MOST - 5):
            assert (await post(browser, f"{HERE}/new", **{**NEW, "name": f"Etapa {number}"}))[0] == 303
        status, text, _ = await post(browser, f"{HERE}/new", **NEW)

    assert status == 422
    assert "O quadro já tem o máximo de etapas." in text
    assert len(await names(db, shop)) == stage_settings.MOST


async def test_everything_about_a_stage_is_changed_at_once_and_written_down(db: Database, service: str):
    shop = await make_shop(db)
    proposal = next(stage for stage in await stages_of(db, shop) if stage["name"] == "Proposta")
    wanted = {
        "name": "Orçamento enviado",
        "group": "LOST",
        "role": "",
        "probability": 5,
        "color": "orange",
    }
    async with visiting(db, service, shop, "admin") as browser:
        status, _, headers = await save(browser, proposal["id"], **wanted)
        again = await save(browser, proposal["id"], **wanted)

    assert (status, headers["location"], again[0]) == (303, HERE, 303)
    now = next(stage for stage in await stages_of(db, shop) if stage["id"] == proposal["id"])
    assert as_form(now) == wanted
    ((action, detail),) = await deeds(db, shop)  # the second time nothing changed
    assert action == "stage_changed"
    assert detail["name"] == "Proposta"
    assert detail["before"] == {
        "name": "Proposta",
        "group": "ACTIVE",
        "probability": 60,
        "color": "violet",
    }
    assert detail["after"] == {name: wanted[name] for name in detail["before"]}


async def test_a_role_given_to_one_stage_leaves_the_other_and_tickets_start_there(db: Database, service: str):
    shop = await make_shop(db)
    proposal = next(stage for stage in await stages_of(db, shop) if stage["name"] == "Proposta")
    async with visiting(db, service, shop, "admin") as browser:
        status, _, _ = await save(browser, proposal["id"], **as_form(proposal, role="new"))
    await fill(db, shop, 1)

    assert status == 303
    assert {stage["name"]: stage["role"] for stage in await stages_of(db, shop)} == {
        "Novo": None, "Qualificado": "qualified", "Proposta": "new", "Ganho": "won", "Perdido": "lost",
    }  # fmt: skip
    assert (await deeds(db, shop))[0][1]["role_taken_from"] == "Novo"
    assert [row["stage_id"] for row in await rows(db, "SELECT stage_id FROM tickets")] == [proposal["id"]]


@pytest.mark.parametrize(
    ("role", "changed", "field", "shown"),
    [
        ("new", {"role": ""}, "role", "É nesta etapa que os tickets começam."),
        ("new", {"role": "qualified"}, "role", "É nesta etapa que os tickets começam."),
        ("new", {"group": "WON", "role": ""}, "role", "É nesta etapa que os tickets começam."),
        ("won", {"group": "ACTIVE", "role": ""}, "group", "É a última etapa deste grupo"),
        ("lost", {"group": "WON", "role": ""}, "group", "É a última etapa deste grupo"),
    ],
)
async def test_what_a_board_cannot_do_without_stays(
    db: Database, service: str, role: str, changed: dict[str, str], field: str, shown: str
):
    shop = await make_shop(db)
    before = await stages_of(db, shop)
    stage = next(stage for stage in before if stage["role"] == role)
    async with visiting(db, service, shop, "admin") as browser:
        status, text, _ = await save(browser, stage["id"], **as_form(stage, **changed))
        removal = await post(browser, f"{HERE}/{stage['id']}/remove")
        _, asked = await get(browser, f"{HERE}/{stage['id']}/remove")

    assert (status, removal[0]) == (422, 422)
    assert shown in text.partition(f'id="{field}-error"')[2]
    assert shown in asked
    assert "Remover etapa" not in asked
    assert await stages_of(db, shop) == before


async def test_the_group_of_a_stage_with_tickets_stays(db: Database, service: str):
    shop = await make_shop(db)
    await fill(db, shop, 2)
    qualified = await stage_id(db, shop, "qualified")
    await move_all(db, shop, "new", "qualified")
    before = await stages_of(db, shop)
    stage = next(each for each in before if each["id"] == qualified)
    async with visiting(db, service, shop, "admin") as browser:
        status, text, _ = await save(browser, qualified, **as_form(stage, group="WON", role=""))

    assert status == 422
    assert "tornaria falso o status deles" in text.partition('id="group-error"')[2]
    assert await stages_of(db, shop) == before


async def move_all(db: Database, shop: Shop, role: str, to: str) -> None:
    """Move every ticket by itself from one stage to another."""
    from_, found = await stage_id(db, shop, role), await rows(db, "SELECT id, stage_id FROM tickets")
    for ticket in found:
        if ticket["stage_id"] == from_:
            async with db.tenant(shop.id) as conn:
                await move_ticket(
                    conn,
                    shop.id,
                    ticket["id"],
                    lambda all_: Change(stage=stages.find_stage(all_, to)),
                    actor="system",
                )


async def test_a_stage_moves_one_place_and_not_beyond_the_edge(db: Database, service: str):
    shop = await make_shop(db)
    proposal, new = await stage_id(db, shop, "qualified"), await stage_id(db, shop, "new")
    async with visiting(db, service, shop, "admin") as browser:
        for _ in range(2):
            status, _, headers = await post(browser, f"{HERE}/{proposal}/shift", step="up")
            assert (status, headers["location"]) == (303, HERE)
        _, text, _ = await post(browser, f"{HERE}/{new}/shift", htmx=True, step="down")
        await post(browser, f"{HERE}/{new}/shift", step="sideways")

    assert await names(db, shop) == ["Qualificado", "Proposta", "Novo", "Ganho", "Perdido"]
    assert text.startswith('<div id="stages"')  # the list alone, for htmx
    assert [detail for _, detail in await deeds(db, shop)] == [
        {"name": "Qualificado", "from": 2, "to": 1},
        {"name": "Novo", "from": 2, "to": 3},
    ]


async def test_an_empty_stage_goes_and_its_history_stays(db: Database, service: str):
    shop = await make_shop(db)
    await fill(db, shop, 1)
    await move_all(db, shop, "new", "qualified")
    await move_all(db, shop, "qualified", "Proposta")
    qualified = await stage_id(db, shop, "qualified")
    async with visiting(db, service, shop, "admin") as browser:
        _, asked = await get(browser, f"{HERE}/{qualified}/remove")
        status, _, headers = await post(browser, f"{HERE}/{qualified}/remove")
        _, text = await get(browser, headers["location"])

    assert "Nenhum ticket está nela." in asked
    assert (status, headers["location"]) == (303, HERE)
    assert "Etapa Qualificado removida." in text
    assert await names(db, shop) == ["Novo", "Proposta", "Ganho", "Perdido"]
    history = await rows(db, "SELECT from_stage, to_stage FROM ticket_stage_changes ORDER BY changed_at")
    assert [tuple(move.values()) for move in history] == [
        ("Novo", "Qualificado"),
        ("Qualificado", "Proposta"),
    ]


async def test_a_stage_with_tickets_goes_only_once_they_have_somewhere_to_go(db: Database, service: str):
    shop = await make_shop(db)
    await fill(db, shop, 3)
    await move_all(db, shop, "new", "qualified")
    qualified, won = await stage_id(db, shop, "qualified"), await stage_id(db, shop, "won")
    proposal = next(stage["id"] for stage in await stages_of(db, shop) if stage["name"] == "Proposta")
    before = await rows(db, "SELECT * FROM tickets ORDER BY id")
    async with visiting(db, service, shop, "admin") as browser:
        _, asked = await get(browser, f"{HERE}/{qualified}/remove")
        refused = [
            await post(browser, f"{HERE}/{qualified}/remove", to=to)
            for to in ("", won, qualified, new_id(), "not an id")
        ]
        assert await rows(db, "SELECT * FROM tickets ORDER BY id") == before
        status, _, headers = await post(browser, f"{HERE}/{qualified}/remove", to=proposal)
        _, text = await get(browser, headers["location"])

    assert "Ela tem 3 tickets" in asked
    assert f'value="{won}"' not in asked  # another group: the tickets' status would change
    for code, answer, _ in refused:
        assert code == 422
        assert "Escolha para onde vão os tickets desta etapa." in answer.partition('id="to-error"')[2]
    assert status == 303
    assert "3 tickets foram movidos." in text
    assert "Qualificado" not in await names(db, shop)
    after = await rows(db, "SELECT * FROM tickets ORDER BY id")
    for was, now in zip(before, after, strict=True):
        assert now["stage_id"] == proposal
        changed = {name for name in was if was[name] != now[name]}
        assert changed == {"stage_id", "version", "updated_at"}
        assert now["version"] == was["version"] + 1
    moves = await rows(
        db, "SELECT * FROM ticket_stage_changes WHERE to_stage_id = %s ORDER BY ticket_id", proposal
    )
    assert [(move["ticket_id"], move["version"]) for move in moves] == [
        (ticket["id"], ticket["version"]) for ticket in after
    ]
    assert {(move["from_stage"], move["to_stage"]) for move in moves} == {("Qualificado", "Proposta")}
    assert (await deeds(db, shop))[-1] == (
        "stage_removed",
        {"name": "Qualificado", "tickets": 3, "to": "Proposta"},
    )


async def test_an_admin_who_saw_an_older_stage_is_told_and_undoes_nothing(db: Database, service: str):
    shop = await make_shop(db)
    stage = next(each for each in await stages_of(db, shop) if each["name"] == "Proposta")
    async with visiting(db, service, shop, "admin") as ana, visiting(db, service, shop, "admin") as bia:
        old = await seen(bia, stage["id"])
        assert (await save(ana, stage["id"], **as_form(stage, name="Orçamento")))[0] == 303
        status, text, _ = await post(bia, f"{HERE}/{stage['id']}", **as_form(stage, probability=70), seen=old)
        assert status == 422
        assert "Outra pessoa mudou esta etapa" in text
        assert 'value="70"' in text
        assert "Orçamento" in await names(db, shop)
        fresh = re.search(r'name="seen" value="(\w+)"', text)
        assert fresh
        again, _, _ = await post(
            bia, f"{HERE}/{stage['id']}", **as_form(stage, probability=70), seen=fresh[1]
        )

    assert again == 303
    assert "Proposta" in await names(db, shop)


async def test_admins_who_change_stages_at_once_lose_nothing(db: Database, service: str):
    shop = await make_shop(db)
    qualified = await stage_id(db, shop, "qualified")
    async with visiting(db, service, shop, "admin") as browser:
        adding = [post(browser, f"{HERE}/new", **{**NEW, "name": f"Etapa {n}"}) for n in range(6)]
        shifting = [post(browser, f"{HERE}/{qualified}/shift", step=step) for step in ("down", "up") * 3]
        answers = await asyncio.gather(*adding, *shifting)

    assert [answer[0] for answer in answers] == [303] * 12
    found = await stages_of(db, shop)
    assert len(found) == 11
    assert len({stage["position"] for stage in found}) == 11
    assert [action for action, _ in await deeds(db, shop)].count("stage_added") == 6


async def test_tickets_moved_while_a_stage_goes_end_in_a_stage_that_is(db: Database, service: str):
    """Nobody waits in a circle: each move comes before the removal or is told that the stage is gone."""
    shop = await make_shop(db)
    await fill(db, shop, 12)
    qualified = await stage_id(db, shop, "qualified")
    proposal = next(stage["id"] for stage in await stages_of(db, shop) if stage["name"] == "Proposta")
    found = await rows(db, "SELECT id FROM tickets ORDER BY id")
    async with visiting(db, service, shop, "admin") as browser:
        moving = [
            post(browser, f"/tickets/{ticket['id']}/stage", stage=qualified, version=1, back="/tickets")
            for ticket in found
        ]
        removing = post(browser, f"{HERE}/{qualified}/remove", to=proposal)
        answers = await asyncio.gather(*moving[:6], removing, *moving[6:])

    assert {answer[0] for answer in answers} <= {303, 422, 409}
    gone = qualified not in [stage["id"] for stage in await stages_of(db, shop)]
    if gone:
        assert qualified not in {row["stage_id"] for row in await rows(db, "SELECT stage_id FROM tickets")}
    else:  # tickets came in between the removal's two steps: it was told so
        assert answers[6][0] == 422
