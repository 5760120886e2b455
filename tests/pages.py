"""Every page that is looked at: in both themes, on a wide screen and a narrow one. Add yours here.

A page is opened by someone, and perhaps brought into a state: a dialog open, a message beside a field.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from playwright.async_api import Page as Tab

Steps = Callable[[Tab], Awaitable[None]]


@dataclass(frozen=True)
class Page:
    """name: of its picture. path: with {ticket} and its kin of Site.places. who: a role, operator, stranger or nobody.

    earns: it is of the organization whose ads earn (roi_site.py).
    """

    name: str
    path: str
    who: str = "owner"
    steps: Steps | None = None
    status: int = 200  # of the page, or of what its steps end in
    earns: bool = False


async def send_empty_stage(tab: Tab) -> None:
    await tab.get_by_label("Nome").fill("")
    await tab.get_by_label("Probabilidade").fill("101")
    await tab.get_by_role("button", name="Salvar").click()
    await tab.get_by_text("Preencha este campo.").wait_for()


async def show_token(tab: Tab) -> None:
    await tab.get_by_text("Mostrar o token").click()


async def sign_in_wrongly(tab: Tab) -> None:
    await tab.get_by_label("E-mail").fill("ninguem@example.com")
    await tab.get_by_label("Senha").fill("nao-e-esta-senha")
    await tab.get_by_role("button", name="Entrar").click()
    await tab.get_by_role("alert").wait_for()


async def invite_nobody(tab: Tab) -> None:
    await tab.get_by_label("E-mail").fill("sem-arroba@x")
    await tab.get_by_role("button", name="Convidar").click()
    await tab.get_by_role("alert").wait_for()


async def make_key(tab: Tab) -> None:
    await tab.get_by_label("Nome").fill("Integração")
    await tab.get_by_role("button", name="Criar").click()
    await tab.get_by_text("wt_").first.wait_for()


async def ask_for_value(tab: Tab) -> None:
    await tab.get_by_role("button", name="Mover Ana Souza").click()
    await tab.get_by_role("button", name="Ganho").click()
    await tab.get_by_role("dialog").wait_for()


async def send_no_value(tab: Tab) -> None:
    await tab.get_by_label("Valor da venda").fill("1,234.56")
    await tab.get_by_role("button", name="Salvar").click()
    await tab.get_by_role("alert").first.wait_for()


async def open_moves(tab: Tab) -> None:
    await tab.get_by_role("button", name="Mover Ana Souza").click()


async def try_phrase(tab: Tab) -> None:
    await tab.get_by_role("button", name="Testar em mensagens antigas").click()
    await tab.get_by_text("teria").wait_for()


async def switch_on(tab: Tab) -> None:
    await tab.get_by_role("switch", name="Ligar Horizonte US").click()
    await tab.get_by_role("dialog").wait_for()


async def paste_what_is_no_dataset(tab: Tab) -> None:
    await tab.get_by_label("Outro, pelo ID").check()
    await tab.get_by_label("ID do dataset").fill("102290129340398")
    await tab.get_by_role("button", name="Ligar conta").click()
    await tab.get_by_text("Este é o ID de uma conta do WhatsApp").wait_for()


async def send_half_a_token(tab: Tab) -> None:
    await tab.get_by_label("ID do número de telefone").fill("+55 11")
    await tab.get_by_label("Token de acesso").fill("EAA")
    await tab.get_by_role("button", name="Conectar número").click()
    await tab.get_by_role("alert").first.wait_for()


async def point_at_figure(tab: Tab) -> None:
    await tab.locator(".figures tbody .figure").first.focus()
    await tab.keyboard.press("Shift+Tab")
    await tab.keyboard.press("Tab")
    await tab.get_by_role("tooltip").wait_for()


async def open_periods(tab: Tab) -> None:
    await tab.get_by_role("button", name="30 dias").click()


async def open_filters(tab: Tab) -> None:
    await tab.get_by_text("Contas, perfis e situação").click()


async def open_rows(tab: Tab) -> None:
    """Down to the ads, where there is room for it."""
    opener = tab.locator(".figures .opener")
    for depth in range(3):
        if await opener.first.is_visible():
            await opener.first.click()
            opener = tab.locator(f".figures [data-depth='{depth + 1}'] .opener")
            await tab.locator(f".figures [data-depth='{depth + 1}']").first.wait_for()


async def make_report_link(tab: Tab) -> None:
    await tab.get_by_label("Título").fill("Cliente Sorriso")
    await tab.get_by_role("button", name="Criar link").click()
    await tab.get_by_text("/shared/").first.wait_for()


async def send_odd_cost(tab: Tab) -> None:
    await tab.get_by_label("Do valor da venda").fill("12.15")
    await tab.get_by_role("button", name="Guardar").click()
    await tab.get_by_role("alert").first.wait_for()


async def send_odd_rates(tab: Tab) -> None:
    await tab.get_by_label("Ou cole as linhas").fill("24/11/2026;USD;5,4\n25/11;USD;5,5")
    await tab.get_by_role("button", name="Importar").click()
    await tab.get_by_role("alert").first.wait_for()


async def enter_far_rate(tab: Tab) -> None:
    await tab.get_by_label("Dia", exact=True).fill("3026-11-24")
    await tab.get_by_label("Vale em BRL").fill("0,0365")
    await tab.get_by_role("button", name="Guardar").click()
    await tab.get_by_text("no futuro: confira o dia").first.wait_for()


PAGES = (
    Page("roi", "/roi", earns=True),
    Page("roi-tip", "/roi?level=ad", steps=point_at_figure, earns=True),
    Page("roi-periods", "/roi", steps=open_periods, earns=True),
    Page("roi-filters", "/roi?basis=click&level=adset", steps=open_filters, earns=True),
    Page("roi-within", "/roi?level=ad&within=account:{roi_account}", who="viewer", earns=True),
    Page("roi-chips", "/roi?level=ad&within=account:{roi_account}&within=account:act_1", earns=True),
    Page("roi-losses", "/roi?level=ad&sort=profit&dir=asc", steps=point_at_figure, earns=True),
    Page("roi-tree", "/roi?level=account", steps=open_rows, earns=True),
    Page("roi-nothing", "/roi?q=ninguem", earns=True),
    Page("roi-new", "/roi"),
    Page("roi-tickets", "/roi/tickets?metric=revenue&row=ad:{roi_ad}&level=ad", earns=True),
    Page("roi-tickets-none", "/roi/tickets?metric=refunds", who="viewer", earns=True),
    Page("roi-number", "/roi/number?metric=profit&row=ad:{roi_ad}&level=ad", earns=True),
    Page("roi-number-days", "/roi/number?metric=spend&period=14", earns=True),
    Page("roi-columns", "/roi/columns", earns=True),
    Page("roi-time", "/roi/time", earns=True),
    Page("roi-time-click", "/roi/time?basis=click", earns=True),
    Page("roi-time-none", "/roi/time?period=yesterday"),
    Page("roi-people", "/roi/people", earns=True),
    Page("roi-reconciliation", "/roi/reconciliation", earns=True),
    Page("roi-cause", "/roi/reconciliation/tickets?side=sales&cause=organic", earns=True),
    Page(
        "roi-reconciliation-none",
        "/roi/reconciliation?period=custom&since=2019-10-01&until=2019-10-30",
        earns=True,
    ),
    Page("roi-days", "/roi/days", earns=True),
    Page("roi-account-days", "/roi/days/{roi_account}?period=7", earns=True),
    Page("roi-share", "/roi/share?level=ad", earns=True),
    Page("roi-share-new", "/roi/share?period=last-month&q=x", steps=make_report_link, earns=True),
    Page("roi-shared", "{link}", who="nobody", earns=True),
    Page("roi-shared-gone", "/shared/nothing", who="nobody", status=404),
    Page("roi-mail", "/roi/mail", earns=True),
    Page("roi-mail-stop", "{stop}", who="nobody", earns=True),
    Page("roi-mail-stopped", "{stopped}", who="nobody", earns=True),
    Page("roi-mail-stop-gone", "/roi/mail/stop/nothing", who="nobody", status=404),
    Page("costs", "/settings/costs", earns=True),
    Page("costs-read", "/settings/costs", who="viewer"),
    Page("cost-new", "/settings/costs/new?kind=meta_tax", earns=True),
    Page("cost-wrong", "/settings/costs/{cost_fee}", steps=send_odd_cost, earns=True),
    Page("rates", "/settings/rates", earns=True),
    Page("rates-far", "/settings/rates", steps=enter_far_rate, earns=True),
    Page("roi-too-long", "/roi?period=custom&since=2020-01-01&until=2026-11-01", earns=True),
    Page("rates-wrong", "/settings/rates", steps=send_odd_rates, earns=True),
    Page("meta", "/settings/meta"),
    Page("meta-read", "/settings/meta?problem=state_expired", who="viewer"),
    Page("meta-nothing", "/settings/meta?q=ninguem"),
    Page("meta-dialog", "/settings/meta", steps=switch_on),
    Page("meta-account", "/settings/meta/accounts/{account}"),
    Page("meta-account-wrong", "/settings/meta/accounts/{account_off}", steps=paste_what_is_no_dataset),
    Page("meta-token", "/settings/meta/token"),
    Page("meta-remove", "/settings/meta/profiles/{profile}/remove"),
    Page("number-new", "/settings/numbers/new"),
    Page("number-new-wrong", "/settings/numbers/new", steps=send_half_a_token),
    Page("data-deletion", "/data-deletion/{deletion}", who="nobody"),
    Page("login", "/login", who="nobody"),
    Page("login-wrong", "/login", who="nobody", steps=sign_in_wrongly),
    Page("forgot", "/forgot", who="nobody"),
    Page("reset", "{reset}", who="nobody"),
    Page("enter", "{enter}", who="nobody"),
    Page("invite", "{invite}", who="nobody"),
    Page("gone", "/reset/used", who="nobody", status=404),
    Page("account", "/account"),
    Page("two-step", "/account/two-step"),
    Page("settings", "/settings"),
    Page("organization", "/settings/organization"),
    Page("members", "/settings/members"),
    Page("members-wrong", "/settings/members", steps=invite_nobody),
    Page("keys", "/settings/keys"),
    Page("key-new", "/settings/keys", steps=make_key),
    Page("audit", "/settings/audit"),
    Page("board-menu", "/tickets", steps=open_moves),
    Page("board-dialog", "/tickets", steps=ask_for_value),
    Page("board-viewer", "/tickets", who="viewer"),
    Page("list-filters", "/tickets?view=list&source=ad&period=30"),
    Page("list-nothing", "/tickets?view=list&q=ninguem"),
    Page("ticket-won", "/tickets/{ticket_won}"),
    Page("ticket-long", "/tickets/{ticket_long}"),
    Page("ticket-post", "/tickets/{ticket_post}", who="viewer"),
    Page("move-wrong", "/tickets/{ticket}/move?stage=ganho", steps=send_no_value),
    Page("board", "/tickets"),
    Page("list", "/tickets?view=list"),
    Page("ticket", "/tickets/{ticket}"),
    Page("ticket-new", "/tickets/new"),
    Page("stages", "/settings/stages"),
    Page("stages-read", "/settings/stages", who="viewer"),
    Page("stage-new", "/settings/stages/new"),
    Page("stage", "/settings/stages/{stage_won}"),
    Page("stage-wrong", "/settings/stages/{stage_proposal}", steps=send_empty_stage),
    Page("stage-remove", "/settings/stages/{stage_qualified}/remove"),
    Page("stage-stays", "/settings/stages/{stage_new}/remove"),
    Page("numbers", "/settings/numbers", who="operator", steps=show_token),
    Page("numbers-read", "/settings/numbers", who="viewer"),
    Page("deliveries", "/deliveries", who="operator"),
    Page("deliveries-pending", "/deliveries?state=pending", who="operator"),
    Page("deliveries-failed", "/deliveries?state=failed", who="operator"),
    Page("deliveries-quarantined", "/deliveries?state=quarantined", who="operator"),
    Page("delivery", "/deliveries/{failed}", who="operator"),
    Page("events", "/events"),
    Page("events-failed", "/events?group=failed"),
    Page("events-none", "/events?event=RatingProvided"),
    Page("event", "/events/{event_sent}"),
    Page("event-failed", "/events/{event_failed}"),
    Page("events-ads", "/events/ads"),
    Page("conversions", "/settings/conversions"),
    Page("conversions-tried", "/settings/conversions", steps=try_phrase),
    Page("not-found", "/nowhere", status=404),
    Page("forbidden", "/tickets", who="stranger", status=403),
)
