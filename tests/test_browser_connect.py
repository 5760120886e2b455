"""Connecting in a real browser: from the button through the dialog to connected, an account switched on, a token that breaks."""

import re

from playwright.async_api import Page as Tab

from tests.rig import BROWSER, Visit, looks_right
from tests.site import Site, make_site
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import AdAccount, Person

pytestmark = BROWSER


def somebody(sandbox: Sandbox, name: str, accounts: int) -> Person:
    """A person of this test alone, who sees some of the accounts."""
    ids = [each.id for each in sandbox.world.all(AdAccount)][:accounts]
    serial = sum(1 for _ in sandbox.world.all(Person))
    return sandbox.world.add(Person(f"1000000000000{serial:04}", name, ids, [sandbox.cast.clinic.id]))


async def through_the_dialog(tab: Tab, name: str, *decline: str) -> None:
    await tab.get_by_role("button", name=name, exact=True).click()
    for each in decline:
        await tab.get_by_label(each).uncheck()
    await tab.get_by_role("button", name=f"Continue as {name}").click()
    await tab.wait_for_url("**/settings/meta")


async def test_from_the_button_to_a_switched_on_account_and_a_token_that_breaks_and_heals(
    site: Site, visit: Visit, sandbox: Sandbox, served_meta: str
):
    mine = await make_site(site.db, site.base_url, "conecta")
    ana, bia = somebody(sandbox, "Ana Gestora", 3), somebody(sandbox, "Bia Agência", 1)
    tab = await visit(site=mine)

    await tab.goto("/settings/meta")
    await tab.get_by_role("link", name="Conectar um perfil").click()
    await through_the_dialog(tab, ana.name, "business_management")
    await tab.get_by_text("Perfil Ana Gestora conectado. 3 contas de anúncio visíveis.").wait_for()
    await tab.get_by_text("Sem permissão para: business_management").wait_for()
    await tab.get_by_role("link", name="Adicionar perfil").click()
    await through_the_dialog(tab, bia.name)
    await tab.get_by_role("cell", name="Ana Gestora, Bia Agência").wait_for()

    await tab.get_by_role("switch", name="Ligar Clínica Sorriso", exact=True).click()
    dialog = tab.get_by_role("dialog")
    await dialog.get_by_label("Pixel do site").check()
    await dialog.get_by_role("button", name="Ligar conta").click()
    await dialog.get_by_label(re.compile("Usar assim mesmo")).check()
    await looks_right(tab)
    await dialog.get_by_role("button", name="Ligar conta").click()
    await tab.get_by_text("Conta Clínica Sorriso ligada.").wait_for()
    await tab.get_by_text("→ Ana Gestora").wait_for()

    meta = await tab.context.new_page()  # what a person does on the sandbox's own page
    await meta.goto(f"{served_meta}/_sandbox")
    await meta.get_by_label("How Ana Gestora's login breaks").select_option("password_changed")
    row = meta.get_by_role("row").filter(has_text=ana.id)
    await row.get_by_role("button", name="Break").click()
    await tab.get_by_role("button", name="Verificar Ana Gestora agora").click()
    await tab.get_by_text("Token inválido").wait_for()
    await tab.get_by_text("→ Bia Agência").wait_for()  # the other profile took over
    await looks_right(tab)
    await row.get_by_role("button", name="Heal").click()
    await tab.get_by_role("button", name="Verificar Ana Gestora agora").click()
    await tab.get_by_text("Ana Gestora funciona.").wait_for()

    await tab.get_by_role("switch", name="Desligar Clínica Sorriso", exact=True).click()
    await tab.get_by_text("Conta Clínica Sorriso desligada").wait_for()


async def test_the_same_way_without_javascript(site: Site, visit: Visit, sandbox: Sandbox):
    mine = await make_site(site.db, site.base_url, "conecta-sem-js")
    person = somebody(sandbox, "Caio Tráfego", 2)
    tab = await visit(site=mine, js=False, width=390)
    await tab.goto("/settings/meta")
    await tab.get_by_role("link", name="Conectar um perfil").click()
    await through_the_dialog(tab, person.name)
    await tab.get_by_role("switch", name="Ligar Clínica Sorriso Manaus").click()
    await tab.get_by_role("button", name="Ligar conta").click()
    await tab.get_by_text("Conta Clínica Sorriso Manaus ligada.").wait_for()


async def test_who_cancels_is_told_and_can_try_again(site: Site, visit: Visit, sandbox: Sandbox):
    mine = await make_site(site.db, site.base_url, "conecta-cancela")
    tab = await visit(site=mine)
    await tab.goto("/settings/meta")
    await tab.get_by_role("link", name="Conectar um perfil").click()
    await tab.get_by_role("button", name="Cancel").click()
    await tab.get_by_text("Você cancelou no Facebook. Nenhum perfil foi conectado.").wait_for()
    assert await tab.get_by_role("link", name="Conectar um perfil").is_visible()
