"""Telling Meta in a real browser: a lead and a sale with their proof, and a dataset that breaks, is mended, and tried again."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from playwright.async_api import Page as Tab
from playwright.async_api import expect

from tests.conversions import put
from tests.rig import BROWSER, Visit, looks_right
from tests.site import Site, make_site
from tests.support import ad, body, change, message, process
from whatrack.sandbox import trouble
from whatrack.sandbox.machine import Sandbox

pytestmark = BROWSER


async def people_tap(site: Site, sandbox: Sandbox, *names: str) -> None:
    """They tap the clinic's ad, just now, and write to its number."""
    number, now = sandbox.cast.number.id, sandbox.clock()
    shown = sandbox.ads()[0].id
    for place, name in enumerate(names):
        phone = f"5511966{place:06d}"
        tap = sandbox.traffic.tap(shown, phone, now - 60)
        said = message(phone, at=datetime.fromtimestamp(now - 30, UTC), referral=ad(shown, tap.clid))
        sent: dict[str, Any] = change(number, said)
        sent["value"]["contacts"][0]["profile"]["name"] = name
        await process(site.db, body(sent))


async def move(tab: Tab, name: str, stage: str, organization: UUID, site: Site, value: str = "") -> None:
    """As a person does on the board; the seconds for undo are cut short."""
    await tab.goto("/tickets")
    await tab.get_by_role("button", name=f"Mover {name}").click()
    await tab.get_by_role("button", name=stage, exact=True).click()
    if value:
        await tab.get_by_role("dialog").get_by_label("Valor da venda").fill(value)
        await tab.get_by_role("dialog").get_by_role("button", name="Salvar").click()
    await expect(tab.get_by_role("status").filter(has_text=f"{name} foi para {stage}.")).to_be_visible()
    await put(
        site.db,
        "UPDATE meta_conversion_events SET not_before = now(), next_attempt_at = now() WHERE organization_id = %s AND hold_reason = 'undo'",
        organization,
    )


async def until(tab: Tab, row: str, state: str) -> None:
    """Look at the events until this one is in this state."""
    for _ in range(40):
        await tab.goto("/events")
        if await tab.get_by_role("row").filter(has_text=row).filter(has_text=state).count():
            return
        await tab.wait_for_timeout(250)
    raise AssertionError(f"{row} never became {state}")


def told(sandbox: Sandbox, clids: set[str]) -> list[str]:
    """Names of the events that Meta has of these clicks."""
    learned = [each["event"] for each in sandbox.truth()["events"]]
    return [each["event_name"] for each in learned if each["user_data"]["ctwa_clid"] in clids]


async def test_a_lead_and_a_sale_are_proved_and_a_broken_dataset_is_read_mended_and_retried(
    site: Site, visit: Visit, sandbox: Sandbox
):
    mine = await make_site(site.db, site.base_url, "conversoes")
    organization, dataset = mine.organization.id, str(sandbox.cast.waba.dataset_id)
    tab = await visit(site=mine)
    await tab.goto("/settings/numbers/new")
    await tab.get_by_label("ID do número de telefone").fill(sandbox.cast.number.id)
    await tab.get_by_label("Token de acesso").fill(sandbox.number_token.value)
    await tab.get_by_role("button", name="Conectar número").click()
    await tab.get_by_text("conectado e recebendo").wait_for()
    known = set(sandbox.world.clicks)
    await people_tap(mine, sandbox, "Lia Duarte", "Rui Sales")
    clicks = set(sandbox.world.clicks) - known

    await move(tab, "Lia Duarte", "Qualificado", organization, mine)
    await until(tab, "LeadSubmitted Lia Duarte", "Enviado e aceito")
    await move(tab, "Lia Duarte", "Ganho", organization, mine, "1.234,56")
    await until(tab, "Purchase Lia Duarte", "Enviado e aceito")
    await tab.get_by_role("row", name="Purchase Lia Duarte").get_by_role("link", name="Purchase").click()
    await tab.get_by_text('"events_received": 1').wait_for()
    await expect(tab.get_by_text('"value": 1234.56')).to_be_visible()
    await expect(tab.get_by_text("fbtrace_id").first).to_be_visible()
    await looks_right(tab)

    trouble.unlink_dataset(sandbox.world, dataset)
    await move(tab, "Rui Sales", "Ganho", organization, mine, "99,00")
    await until(tab, "Purchase Rui Sales", "Falhou")
    row = tab.get_by_role("row", name="Purchase Rui Sales")
    await expect(row.get_by_text("O dataset não está ligado a esta conta do WhatsApp.")).to_be_visible()
    await expect(row.get_by_text("faltam 6 dias")).to_be_visible()
    trouble.link_dataset(sandbox.world, dataset)
    await row.get_by_role("button", name="Tentar de novo").click()
    await tab.get_by_text("Será enviado de novo em instantes.").wait_for()
    await until(tab, "Purchase Rui Sales", "Enviado e aceito")

    assert sorted(told(sandbox, clicks)) == ["LeadSubmitted", "Purchase", "Purchase"]
    await tab.get_by_role("row", name="Purchase Rui Sales").get_by_role("link", name="Rui Sales").click()
    await tab.get_by_text("Informado à Meta").wait_for()
