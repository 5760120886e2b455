"""Where the report stands: connected, fetching, waiting behind something; and the words for why a day is missing."""

from datetime import datetime
from typing import Any

import msgspec

from whatrack.insights.progress import AccountProgress, Progress
from whatrack.web.pages.i18n import _, marked, ngettext
from whatrack.web.pages.render import ago
from whatrack.web.pages.roi_page import Empty
from whatrack.web.pages.roi_unknown import Unknown

# Why fetching did not bring everything, as insights/ names it.
REASONS = {
    "no_profile": marked("nenhum perfil conectado vê esta conta"),
    "token_dead": marked("o token do perfil não vale mais: reconecte o perfil"),
    "no_access": marked("o perfil perdeu o acesso a esta conta"),
    "permission_missing": marked("falta a permissão ads_read: reconecte o perfil e aceite a leitura de anúncios"),
    "throttled": marked("a Meta pediu para esperar: a conta chegou ao limite de consultas"),
    "transient": marked("a Meta não respondeu direito: tentamos de novo sozinhos"),
    "report_waits": marked("a Meta ainda prepara o relatório desta conta"),
    "report_failed": marked("o relatório da Meta falhou: pedimos outro"),
    "too_much_data": marked("a Meta diz que são dados demais: pedimos períodos menores"),
    "currency_differs": marked("a moeda da resposta não é a da conta: atualize a lista de contas"),
    "refused": marked("a Meta recusou o pedido"),
    "row_unreadable": marked("a Meta mandou um valor que não se pode ler; esse dia é tentado de novo e os outros seguem"),
    "internal": marked("houve um erro nosso, que está no registro do servidor; tentamos de novo sozinhos"),
}  # fmt: skip
# What a profile that is connected, or connected again, mends; and what the list of accounts, read anew, does.
OF_PROFILES = ("no_profile", "token_dead", "no_access", "permission_missing")
REMEDIES = (*OF_PROFILES, "currency_differs")
MOST_NAMED = 3  # accounts in trouble, each with a line of its own


def why(reason: str | None, message: str | None = None) -> str:
    """A reason in words; one of nobody's as it is. message: which row or profile it is about, if that is known."""
    if reason == "row_unreadable" and message:
        return _("a Meta mandou um valor que não se pode ler (%(row)s); esse dia é tentado de novo e os outros seguem", row=message)  # fmt: skip
    if reason == "token_dead" and message:
        return _("o token de %(profile)s não vale mais: reconecte o perfil", profile=message)
    return _(REASONS[reason]) if reason in REASONS else (reason or "")


def outlook(each: AccountProgress, now: datetime) -> str:
    """When an account that waits goes on by itself; '' where a person has to do something first, or nobody knows when."""
    if each.reason in REMEDIES or not each.next_at:
        return ""
    if each.next_at <= now:
        return _("Segue sozinha, agora.")
    return _("Segue sozinha %(when)s.", when=ago(each.next_at, now))


class Syncing(msgspec.Struct, frozen=True):
    """How fetching goes. is_busy: something will change by itself; share: of the days of a first reading, 0 to 100."""

    is_busy: bool
    is_first: bool
    fetched: int
    days: int
    left: int
    stuck: list[AccountProgress]

    @property
    def named(self) -> list[AccountProgress]:
        """The first that wait behind a reason, those first that a person can do something about."""
        return sorted(self.stuck, key=lambda each: each.reason not in REMEDIES)[:MOST_NAMED]

    @property
    def unnamed(self) -> int:
        """How many more wait."""
        return len(self.stuck) - len(self.named)

    @property
    def share(self) -> int:
        """How much of it came."""
        return 100 * self.fetched // self.days if self.days else 0


def syncing(found: Progress) -> Syncing:
    """How fetching goes over all accounts that are on."""
    active = [each for each in found.accounts if each.is_active]
    left = sum(each.due for each in active if not each.reason or each.is_running or each.goes_on)
    return Syncing(
        is_busy=bool(found.running or left or any(each.days == 0 and not each.reason for each in active)),
        is_first=any(each.is_first for each in active),
        fetched=sum(each.fetched for each in active),
        days=sum(each.days for each in active),
        left=left,
        stuck=[each for each in active if each.reason and (each.due or each.aside or each.days == 0)],
    )


def all_off(depth: int) -> str:
    """That no account is on, and what turning one on does. depth: how many days back are fetched then, a setting."""
    return ngettext(
        "Nenhuma conta de anúncio está ligada. Ligue a primeira para buscar o último dia.",
        "Nenhuma conta de anúncio está ligada. Ligue a primeira para buscar os últimos %(num)s dias.",
        depth,
    )


def blank(context: dict[str, Any], now: Syncing, depth: int, unknown: Unknown | None = None) -> Empty | None:
    """Why there is nothing to see at all, and what to do next; None when there is something. depth: as in all_off."""
    if unknown and unknown.is_all:
        return Empty("search", unknown.text, unknown.href, unknown.act)
    totals = context["report"].totals.amounts
    if totals.spend or totals.leads or totals.sales:
        return None
    return unready(context, now, depth)


def unready(known: dict[str, Any], now: Syncing, depth: int) -> Empty | None:
    """What has to be there before Meta's figures can be, and is not; None when all is. known: accounts and people."""
    accounts, people = known["accounts"], known["people"]
    if not accounts and not people:
        text = _("Conecte um perfil do Facebook: é dele que vêm o investimento e os nomes dos anúncios.")
        return Empty("brand-facebook", text, "/settings/meta", _("Conectar um perfil"))
    if not any(each.is_active for each in accounts):
        return Empty("brand-meta", all_off(depth), "/settings/meta", _("Ligar uma conta"))
    if now.is_first and now.stuck:
        first = now.named[0]
        names = ngettext("A conta %(name)s espera", "%(num)s contas esperam", len(now.stuck), name=first.name)  # fmt: skip
        text = _("%(names)s: %(why)s.", names=names, why=why(first.reason, first.message))
        if first.reason in OF_PROFILES:
            return Empty("plug-connected", text, "/settings/meta", _("Ver os perfis"))
        return Empty("plug-connected", text, "/roi/days", _("Acompanhar dia a dia"))
    if now.is_first:
        text = _(
            "Buscando o histórico da Meta. Esta página mostra os números assim que os primeiros dias chegarem."
        )
        return Empty("refresh", text, "/roi/days", _("Acompanhar dia a dia"))
    return None
