"""The settings in a real browser: by keyboard, by button, and with JavaScript off."""

import pytest_asyncio
from playwright.async_api import expect

from tests.rig import BROWSER, Visit, looks_right
from tests.site import Site, make_site

pytestmark = BROWSER


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def other(site: Site) -> Site:
    """An organization of this module's own, to change."""
    return await make_site(site.db, site.base_url, "clinica-da-mudanca")


async def test_stages_are_reordered_by_keyboard_without_losing_ones_place(visit: Visit, other: Site):
    page = await visit("admin", site=other)
    await page.goto("/settings/stages")
    await page.get_by_role("button", name="Descer Novo").focus()

    await page.keyboard.press("Enter")
    await expect(page.locator("tbody tr th").first).to_have_text("Qualificado")
    await expect(page.get_by_role("button", name="Descer Novo")).to_be_focused()
    await page.get_by_role("button", name="Subir Novo").press("Enter")

    await expect(page.locator("tbody tr th").first).to_have_text("Novo")
    await looks_right(page)


async def test_a_stage_is_added_changed_and_removed_without_javascript(visit: Visit, other: Site):
    page = await visit("admin", js=False, width=390, site=other)
    await page.goto("/settings/stages")
    await page.get_by_role("link", name="Nova etapa").click()
    await page.get_by_label("Nome").fill("novo")
    await page.get_by_role("button", name="Salvar").click()
    await expect(page.get_by_role("alert")).to_have_text("Já existe uma etapa com este nome.")
    await page.get_by_label("Nome").fill("Visita")
    await page.get_by_label("Rosa").check()
    await page.get_by_role("button", name="Salvar").click()
    await expect(page.get_by_role("status").first).to_contain_text("Etapa Visita adicionada.")

    await page.get_by_role("button", name="Subir Visita").click()
    await expect(page.locator("tbody tr th").nth(2)).to_have_text("Visita")
    await page.get_by_role("link", name="Remover Visita").click()
    await page.get_by_role("button", name="Remover etapa").click()

    await expect(page.get_by_role("status").first).to_contain_text("Etapa Visita removida.")


async def test_the_tickets_of_a_removed_stage_are_on_the_board_where_they_went(visit: Visit, site: Site):
    changed = await make_site(site.db, site.base_url, "clinica-sem-qualificado")
    page = await visit("admin", site=changed)
    await page.goto("/settings/stages")
    await page.get_by_role("link", name="Remover Qualificado").click()
    await page.get_by_role("button", name="Remover etapa").click()
    await expect(page.get_by_role("alert")).to_have_text("Escolha para onde vão os tickets desta etapa.")
    await page.get_by_label("Mover os tickets para").select_option("Proposta")
    await page.get_by_role("button", name="Remover etapa").click()
    await expect(page.get_by_text("2 tickets foram movidos.")).to_be_visible()

    await page.goto("/tickets")

    proposal = page.get_by_role("region", name="Proposta")
    await expect(proposal.get_by_text("Carla Dias")).to_be_visible()
    await expect(page.get_by_role("region", name="Qualificado")).to_have_count(0)


async def test_what_meta_needs_is_copied_and_the_token_stays_hidden_until_asked(visit: Visit):
    page = await visit("admin")
    await page.goto("/settings/numbers")
    copied = "() => navigator.clipboard.readText()"

    await page.get_by_role("button", name="Copiar a URL de callback").click()
    await expect(page.get_by_text("Copiado.")).to_be_visible()
    assert (await page.evaluate(copied)).endswith("/api/v1/whatsapp/webhook")
    token = page.get_by_role("button", name="Copiar o token de verificação")
    await expect(token).to_be_hidden()
    await page.get_by_text("Mostrar o token").click()
    await token.click()

    assert await page.evaluate(copied) == "planted-verify-token-77c1"


async def test_an_operator_reads_a_failure_and_processes_it_again(visit: Visit, site: Site):
    page = await visit("operator", js=False)
    await page.goto("/deliveries?state=failed")
    await page.get_by_role("link", name="#").first.click()
    await expect(page.get_by_text("Uma mensagem não diz de quem é")).to_be_visible()
    await expect(page.locator("pre")).to_contain_text("Quem sou eu?")

    await page.get_by_role("button", name="Reprocessar").click()

    await expect(page.get_by_role("status").first).to_contain_text("para a fila")


async def test_the_ads_picture_stands_beside_the_attribution(visit: Visit, site: Site):
    page = await visit("viewer")
    await page.goto(f"/tickets/{site.places['ticket']}")
    picture = page.get_by_role("img", name="Imagem do anúncio")

    await expect(picture).to_be_visible()
    assert await picture.evaluate("(image) => image.naturalWidth") == 600


async def test_a_stored_rate_is_whole_on_a_phone(visit: Visit, other: Site):
    page = await visit("admin", width=390, site=other)
    await page.goto("/settings/rates")
    await page.get_by_label("Dia", exact=True).fill("2026-11-20")
    await page.get_by_label("Vale em BRL").fill("5,4321")
    await page.get_by_role("button", name="Guardar", exact=True).click()

    table = page.get_by_role("region", name="Cotações", exact=True)
    await expect(table.locator("tbody tr").first).to_contain_text("repetida do dia anterior")
    assert await table.evaluate("each => each.scrollWidth - each.clientWidth") == 0
    await looks_right(page)
