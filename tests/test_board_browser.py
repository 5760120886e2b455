"""The board in a real browser: by mouse, by keyboard, on a phone, with another person at it, and without JavaScript."""

import itertools
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.rig import BROWSER, Visit
from tests.site import Site, make_site
from tests.support import body, change, message, process

pytestmark = BROWSER
_slugs = itertools.count(1)


async def own_site(site: Site) -> Site:
    """An organization of the test's own, to change."""
    return await make_site(site.db, site.base_url, f"quadro-{next(_slugs)}")


def column(tab: Page, stage: str) -> Locator:
    return tab.get_by_role("region", name=stage, exact=True)


def card(tab: Page, name: str) -> Locator:
    return tab.get_by_role("article").filter(has_text=name)


async def drag(tab: Page, source: Locator, target: Locator) -> None:
    """As a hand does it: press, move in steps, let go."""
    a, b = await source.bounding_box(), await target.bounding_box()
    assert a
    assert b
    x, y, to_x, to_y = a["x"] + 40, a["y"] + 12, b["x"] + b["width"] / 2, b["y"] + 20
    await tab.mouse.move(x, y)
    await tab.wait_for_function("() => document.querySelector('[data-stage]').sorting")
    await tab.mouse.down()
    for step in range(1, 16):
        await tab.mouse.move(x + (to_x - x) * step / 15, y + (to_y - y) * step / 15)
        await tab.wait_for_timeout(15)
    await tab.mouse.up()


async def win_for_what_is_no_amount(tab: Page, name: str) -> Locator:
    """Move to Ganho, type what cannot be read and save: the dialog, which says so beside the field."""
    await tab.get_by_role("button", name=f"Mover {name}").click()
    await tab.get_by_role("button", name="Ganho").click()
    dialog = tab.get_by_role("dialog", name=f"{name} → Ganho")
    await dialog.get_by_label("Valor da venda").fill("1,234.56")
    await dialog.get_by_role("button", name="Salvar").click()
    await expect(dialog.get_by_text("Escreva o valor como 1.234,56.")).to_be_visible()
    return dialog


async def test_a_card_is_dragged_to_another_column_and_the_move_undone(site: Site, visit: Visit):
    own = await own_site(site)
    tab = await visit("agent", site=own)
    await tab.goto("/tickets")

    await drag(tab, card(tab, "Bruno Lima"), column(tab, "Proposta").locator("[data-stage]"))

    await expect(column(tab, "Proposta").get_by_text("Bruno Lima")).to_be_visible()
    await expect(tab.get_by_role("status").filter(has_text="Bruno Lima foi para Proposta.")).to_be_visible()
    await tab.get_by_role("button", name="Desfazer").click()
    await expect(column(tab, "Novo").get_by_text("Bruno Lima")).to_be_visible()
    await expect(tab.get_by_text("Movimento desfeito.")).to_be_visible()


@pytest.mark.parametrize("width", [1440, 390])
async def test_a_card_is_moved_by_the_keyboard_alone_and_keeps_the_focus(
    site: Site, visit: Visit, width: int
):
    own = await own_site(site)
    tab = await visit("agent", site=own, width=width)
    await tab.goto("/tickets")

    mover = tab.get_by_role("button", name="Mover Ana Souza")
    await mover.focus()
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_role("button", name="Qualificado")).to_be_visible()
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Enter")

    await expect(column(tab, "Qualificado").get_by_text("Ana Souza")).to_be_visible()
    await expect(tab.get_by_role("button", name="Mover Ana Souza")).to_be_focused()
    await expect(tab.locator(":popover-open")).to_have_count(0)


async def test_a_move_by_keyboard_is_undone_by_keyboard(site: Site, visit: Visit):
    own = await own_site(site)
    tab = await visit("agent", site=own)
    await tab.goto("/tickets")

    await tab.get_by_role("button", name="Mover Ana Souza").press("Enter")
    await tab.get_by_role("button", name="Proposta").press("Enter")
    await expect(column(tab, "Proposta").get_by_text("Ana Souza")).to_be_visible()
    await tab.keyboard.press("Control+z")

    await expect(column(tab, "Novo").get_by_text("Ana Souza")).to_be_visible()
    await expect(tab.get_by_role("button", name="Mover Ana Souza")).to_be_focused()


async def test_escape_closes_the_menu_and_nothing_moves(site: Site, visit: Visit):
    tab = await visit("agent")
    await tab.goto("/tickets")

    await tab.get_by_role("button", name="Mover Ana Souza").press("Enter")
    await tab.keyboard.press("Escape")

    await expect(tab.locator(":popover-open")).to_have_count(0)
    await expect(column(tab, "Novo").get_by_text("Ana Souza")).to_be_visible()


async def test_a_win_asks_in_a_dialog_refuses_beside_the_field_and_keeps_what_was_typed(
    site: Site, visit: Visit
):
    own = await own_site(site)
    tab = await visit("agent", site=own)
    await tab.goto("/tickets")

    dialog = await win_for_what_is_no_amount(tab, "Carla Dias")
    await expect(dialog.get_by_label("Valor da venda")).to_have_value("1,234.56")
    await dialog.get_by_label("Valor da venda").fill("1.234,56")
    await tab.keyboard.press("Enter")

    await expect(dialog).to_be_hidden()
    await expect(column(tab, "Ganho").get_by_text("Carla Dias")).to_be_visible()
    await expect(column(tab, "Ganho").get_by_text("R$ 1.234,56")).to_be_visible()


async def test_a_loss_asked_for_and_cancelled_moves_nothing(site: Site, visit: Visit):
    tab = await visit("agent")
    await tab.goto("/tickets")

    await tab.get_by_role("button", name="Mover Carla Dias").click()
    await tab.get_by_role("button", name="Perdido").click()
    dialog = tab.get_by_role("dialog", name="Carla Dias → Perdido")
    await dialog.get_by_role("link", name="Cancelar").click()

    await expect(dialog).to_be_hidden()
    await expect(column(tab, "Qualificado").get_by_text("Carla Dias")).to_be_visible()


async def test_of_two_people_the_second_is_told_and_sees_what_the_first_did(site: Site, visit: Visit):
    own = await own_site(site)
    first, second = await visit("agent", site=own), await visit("admin", site=own)
    await first.goto("/tickets")
    await second.goto("/tickets")

    await first.get_by_role("button", name="Mover Bruno Lima").click()
    await first.get_by_role("button", name="Proposta").click()
    await expect(column(first, "Proposta").get_by_text("Bruno Lima")).to_be_visible()
    await second.get_by_role("button", name="Mover Bruno Lima").click()
    await second.get_by_role("button", name="Qualificado").click()

    await expect(
        second.get_by_role("alert").filter(has_text="Outra pessoa mudou este ticket")
    ).to_be_visible()
    await expect(column(second, "Proposta").get_by_text("Bruno Lima")).to_be_visible()


async def test_a_new_ticket_appears_by_itself_and_a_drag_in_progress_is_not_lost(site: Site, visit: Visit):
    own = await own_site(site)
    tab = await visit("agent", site=own)
    await tab.goto("/tickets")
    a = await card(tab, "Ana Souza").bounding_box()
    assert a
    await tab.mouse.move(a["x"] + 40, a["y"] + 12)
    await tab.wait_for_function("() => document.querySelector('[data-stage]').sorting")
    await tab.mouse.down()
    await tab.mouse.move(a["x"] + 60, a["y"] + 60, steps=6)

    now = int(datetime.now(UTC).timestamp())
    person: Any = [{"profile": {"name": "Zilda Nova"}, "wa_id": "5511955559999"}]
    await process(
        own.db, body(change(own.number, message("5511955559999", at=now, text="Oi"), contacts=person))
    )
    await tab.wait_for_timeout(6000)
    await expect(card(tab, "Zilda Nova")).to_have_count(0)
    await expect(tab.locator(".sortable-ghost")).to_have_count(1)
    await tab.mouse.up()

    await expect(card(tab, "Zilda Nova")).to_be_visible()


async def test_search_and_filters_keep_their_state_in_the_address(site: Site, visit: Visit):
    tab = await visit("agent")
    await tab.goto("/tickets?view=list")

    await tab.get_by_label("Buscar tickets").fill("elis")
    await tab.keyboard.press("Enter")

    await expect(tab).to_have_url(re.compile("q=elis"))
    await expect(tab.get_by_role("link", name="Elis Prado")).to_be_visible()
    await expect(tab.get_by_role("link", name="Ana Souza")).to_have_count(0)
    await tab.get_by_role("link", name="Limpar").click()
    await expect(tab.get_by_role("link", name="Ana Souza")).to_be_visible()


async def test_a_viewer_can_move_nothing(site: Site, visit: Visit):
    tab = await visit("viewer")
    await tab.goto("/tickets")

    await expect(card(tab, "Ana Souza")).to_be_visible()
    await expect(tab.get_by_role("button", name=re.compile("Mover"))).to_have_count(0)
    assert "95555" not in await tab.content()


async def test_without_javascript_a_ticket_is_moved_won_and_undone(site: Site, visit: Visit):
    own = await own_site(site)
    tab = await visit("agent", site=own, js=False)
    await tab.goto("/tickets")

    await tab.get_by_role("button", name="Mover Bruno Lima").click()
    await tab.get_by_role("button", name="Ganho").click()
    await expect(tab).to_have_url(re.compile("/move"))
    await tab.get_by_label("Valor da venda").fill("")
    await tab.get_by_role("button", name="Salvar").click()
    await expect(tab.get_by_text("Preencha este campo.")).to_be_visible()
    await tab.get_by_label("Valor da venda").fill("300")
    await tab.get_by_role("button", name="Salvar").click()
    await expect(tab.get_by_text("Bruno Lima foi para Ganho.")).to_be_visible()
    await tab.get_by_role("link", name="Bruno Lima").click()
    await tab.get_by_role("button", name="Desfazer").click()

    await expect(tab.get_by_text("Movimento desfeito.")).to_be_visible()
    await expect(tab.get_by_role("heading", name="Novo")).to_be_visible()


async def test_a_column_that_was_made_longer_stays_so_through_refreshes_and_moves(site: Site, visit: Visit):
    own = await own_site(site)
    now = int(datetime.now(UTC).timestamp())
    many = [
        change(own.number, message(f"55119{n:08d}", at=now - 9000 - n, text="Oi"))
        for n in range(7_000, 7_060)
    ]
    await process(own.db, body(*many))
    tab = await visit("agent", site=own)
    await tab.goto("/tickets")
    first = column(tab, "Novo")
    await expect(first.get_by_role("article")).to_have_count(50)

    await first.get_by_role("link", name="Carregar mais").click()
    await expect(first.locator("[data-stage] > article")).to_have_count(64)
    person: Any = [{"profile": {"name": "Zilda Nova"}, "wa_id": "5511955559998"}]
    await process(
        own.db, body(change(own.number, message("5511955559998", at=now, text="Oi"), contacts=person))
    )

    await expect(card(tab, "Zilda Nova")).to_be_visible(timeout=8000)
    await expect(first.get_by_role("article")).to_have_count(65)
    await tab.get_by_role("button", name="Mover Zilda Nova").click()
    await tab.get_by_role("button", name="Proposta").click()
    await expect(column(tab, "Proposta").get_by_text("Zilda Nova")).to_be_visible()
    await expect(first.get_by_role("article")).to_have_count(64)


async def test_a_move_on_a_tickets_own_page_looks_for_no_board(site: Site, visit: Visit):
    own = await own_site(site)
    tab = await visit("agent", site=own)
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    await tab.goto("/tickets")
    await card(tab, "Carla Dias").get_by_role("link").click()

    dialog = await win_for_what_is_no_amount(tab, "Carla Dias")
    await dialog.get_by_label("Valor da venda").fill("1.234,56")
    await dialog.get_by_role("button", name="Salvar").click()
    await expect(tab.get_by_role("heading", name="Ganho")).to_be_visible()
    await tab.get_by_role("button", name="Mover Carla Dias").click()
    await tab.get_by_role("button", name="Qualificado").click()
    await expect(tab.get_by_role("heading", name="Qualificado")).to_be_visible()

    assert [text for text in said if "422" not in text] == []
