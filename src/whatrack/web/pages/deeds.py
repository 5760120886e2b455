"""The audit's words as sentences: who did what, in the reader's language."""

from decimal import Decimal
from typing import Any

from whatrack.conversions.sales import PHONE
from whatrack.tenants.audit import Entry
from whatrack.web.pages import meta_words
from whatrack.web.pages.i18n import _, marked
from whatrack.web.pages.render import UNKNOWN, money
from whatrack.web.pages.words import ROLES, role_name

# One sentence for each of audit.ACTIONS; a test holds them together. Values: the actor, and the entry's detail.
SENTENCES = {
    "sign_in": marked("%(actor)s entrou (endereço %(address)s)."),
    "code_refused": marked("Um código errado foi usado na conta de %(actor)s (endereço %(address)s)."),
    "password_changed": marked("%(actor)s trocou a própria senha."),
    "password_reset": marked("%(actor)s trocou a senha por um link."),
    "reset_link_made": marked("%(actor)s criou um link para %(name)s trocar a senha."),
    "two_step_on": marked("%(actor)s ligou a verificação em duas etapas."),
    "two_step_off": marked("%(actor)s desligou a verificação em duas etapas."),
    "recovery_codes_made": marked("%(actor)s gerou novos códigos de recuperação."),
    "organization_created": marked("%(actor)s criou a organização %(name)s."),
    "organization_changed": marked("%(actor)s mudou a organização: %(changes)s."),
    "member_added": marked("%(actor)s adicionou %(name)s à organização: %(role)s."),
    "member_joined": marked("%(actor)s passou a fazer parte da organização: %(role)s."),
    "member_role_changed": marked("%(actor)s mudou o papel de %(name)s: de %(from)s para %(to)s."),
    "member_removed": marked("%(actor)s removeu %(name)s da organização."),
    "invitation_sent": marked("%(actor)s convidou %(email)s: %(role)s."),
    "invitation_withdrawn": marked("%(actor)s retirou o convite de %(email)s."),
    "key_created": marked("%(actor)s criou a chave de API %(name)s: %(role)s."),
    "key_revoked": marked("%(actor)s revogou a chave de API %(name)s."),
    "ticket_opened": marked("%(actor)s criou um ticket."),
    "ticket_moved": marked("%(actor)s moveu um ticket de %(from)s para %(to)s."),
    "ticket_valued": marked("%(actor)s mudou o valor de um ticket para %(money)s."),
    "ticket_move_undone": marked("%(actor)s desfez um movimento: o ticket voltou de %(from)s para %(to)s."),
    "ticket_assigned": marked("%(actor)s mudou o responsável por um ticket: %(owner)s."),
    "refund_added": marked("%(actor)s registrou um reembolso de %(money)s."),
    "refund_removed": marked("%(actor)s removeu um reembolso."),
    "stage_added": marked("%(actor)s criou a etapa %(name)s."),
    "stage_changed": marked("%(actor)s mudou a etapa %(name)s."),
    "stage_shifted": marked("%(actor)s mudou a posição da etapa %(name)s: de %(from)s para %(to)s."),
    "stage_removed": marked("%(actor)s removeu a etapa %(name)s; tickets movidos para outra: %(tickets)s."),
    "event_retried": marked("%(actor)s mandou tentar de novo o envio de um evento."),
    "events_retried": marked("%(actor)s mandou tentar de novo o envio de %(count)s eventos com falha."),
    "sale_rule_on": marked("%(actor)s ligou a venda confirmada pelo celular: “%(phrase)s”."),
    "sale_rule_off": marked("%(actor)s desligou a venda confirmada pelo celular."),
    "test_code_changed": marked("%(actor)s mudou o código de teste do dataset %(dataset)s: %(code)s."),
    "ad_retried": marked("%(actor)s mandou buscar de novo anúncios sem nome."),
    "profile_connected": marked("%(actor)s conectou o perfil do Facebook %(name)s."),
    "profile_renewed": marked("%(actor)s reconectou o perfil do Facebook %(name)s."),
    "profile_removed": marked("%(actor)s desconectou o perfil do Facebook %(name)s."),
    "profile_judged": marked("A situação do perfil do Facebook %(name)s mudou para %(status)s: %(why)s"),
    "profile_forgotten": marked("Um perfil do Facebook foi apagado a pedido da própria pessoa, pela Meta."),
    "account_on": marked("%(actor)s ligou a conta de anúncio %(name)s."),
    "account_off": marked("%(actor)s desligou a conta de anúncio %(name)s."),
    "account_changed": marked("%(actor)s mudou o dataset da conta de anúncio %(name)s: %(dataset)s."),
    "cost_set": marked("%(actor)s mudou um custo do relatório: %(label)s."),
    "cost_removed": marked("%(actor)s removeu um custo do relatório: %(label)s."),
    "fx_rates_set": marked("%(actor)s registrou cotações de %(currency)s em %(into)s; dias: %(days)s."),
    "fx_rates_removed": marked("%(actor)s removeu cotações de %(currency)s em %(into)s; dias: %(days)s."),
    "number_connected": marked("%(actor)s conectou o número do WhatsApp %(name)s com o token dele."),
    "report_shared": marked("%(actor)s criou o link “%(title)s” do relatório, por %(days)s dias."),
    "report_unshared": marked("%(actor)s revogou o link “%(title)s” do relatório."),
    "target_changed": marked("%(actor)s mudou a meta de ROAS: %(target)s."),
    "number_judged": marked("A situação do token do número %(name)s mudou para %(status)s: %(why)s"),
}
STATES = {
    "ACTIVE": marked("funcionando"),
    "EXPIRED": marked("token inválido"),
    "INVALID_SCOPES": marked("faltam permissões"),
}
FIELDS = {
    "name": marked("nome"),
    "timezone": marked("fuso horário"),
    "base_currency": marked("moeda"),
    "ticket_expiration_days": marked("dias até expirar"),
}


def sentence(entry: Entry) -> str:
    """What happened, for a person. A word or a detail that is not known here is shown as it is."""
    text = SENTENCES.get(entry.action)
    if text is None:
        return f"{actor(entry)}: {entry.action}"
    values = {name: _value(entry, name, value) for name, value in entry.detail.items()}
    more = {"changes": _changes(entry.detail), "money": _money(entry.detail)}
    why = meta_words.reason(values.get("reason")) or "—"
    return _(text) % _Known(values, actor=actor(entry), why=why, **more)


def place(entry: Entry) -> tuple[str, str] | None:
    """The page of what it was done to, and what to call it; None where there is none to open, or perhaps no longer."""
    kind, _colon, name = entry.target.partition(":")
    if kind == "ticket":
        return f"/tickets/{name}", _("Ver o ticket")
    return (f"/events/{name}", _("Ver o evento")) if kind == "event" else None


def actor(entry: Entry) -> str:
    """Who did it."""
    if entry.actor_name:
        return entry.actor_name
    if entry.actor.startswith("api_key:"):
        return _("Uma chave de API")
    if entry.actor == PHONE:
        return _("Uma mensagem do celular da empresa")
    return _("O sistema") if entry.actor == "system" else _("Alguém")


def _money(detail: dict[str, Any]) -> str:
    return money(Decimal(detail["value"]), detail["currency"]) if detail.get("value") else UNKNOWN


class _Known(dict[str, str]):
    """Values for a sentence; what an old entry does not hold is a dash."""

    def __missing__(self, key: str) -> str:
        return "—"


def _value(entry: Entry, name: str, value: Any) -> str:
    if name == "status" and value in STATES:
        return _(STATES[value])
    is_role = name == "role" or (name in ("from", "to") and entry.action == "member_role_changed")
    return role_name(value) if is_role and value in ROLES else str(value)


def _changes(detail: dict[str, Any]) -> str:
    pairs = {name: value for name, value in detail.items() if name in FIELDS and isinstance(value, list)}
    said = [
        _("%(field)s de “%(old)s” para “%(new)s”", field=_(FIELDS[name]), old=old, new=new)
        for name, (old, new) in pairs.items()
    ]
    return ", ".join(said) or "—"
