"""Every page that is looked at: in both themes, on a wide screen and a narrow one. Add yours here.

A page is opened by someone, and perhaps brought into a state: a dialog open, a message beside a field.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from playwright.async_api import Page as Tab

Steps = Callable[[Tab], Awaitable[None]]


@dataclass(frozen=True)
class Page:
    """name: of its picture. path: with {ticket} and its kin of Site.places. who: a role, operator, stranger or nobody."""

    name: str
    path: str
    who: str = "owner"
    steps: Steps | None = None
    status: int = 200  # of the page, or of what its steps end in


async def send_empty_stage(tab: Tab) -> None:
    await tab.get_by_label("Nome").fill("")
    await tab.get_by_label("Probabilidade").fill("101")
    await tab.get_by_role("button", name="Salvar").click()
    await tab.get_by_text("Preencha este campo.").wait_for()


async def try_phrase(tab: Tab) -> None:
    await tab.get_by_role("button", name="Testar em mensagens antigas").click()
    await tab.get_by_text("teria").wait_for()


PAGES = (
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
