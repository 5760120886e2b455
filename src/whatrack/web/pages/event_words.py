"""Conversion events in words: what each state means, what an event waits for, why it failed and what to do about it."""

from datetime import timedelta
from typing import Any

from whatrack.web.pages.i18n import _, marked

# status → colour and word. The word always stands beside the colour.
STATUSES = {
    "PENDING": ("blue", marked("Aguardando")),
    "SENT": ("green", marked("Enviado e aceito")),
    "FAILED": ("red", marked("Falhou")),
    "CANCELLED": ("slate", marked("Cancelado")),
    "EXPIRED_WINDOW": ("red", marked("Passou do prazo da Meta")),
    "SKIPPED_NO_CTWA": ("amber", marked("Sem clique")),
    "SKIPPED_DUPLICATE_LEAD": ("amber", marked("Clique já contado")),
    "SKIPPED_NO_DATASET": ("amber", marked("Sem dataset")),
    "SKIPPED_ACCOUNT_INACTIVE": ("amber", marked("Conta desativada")),
}
EXPLAINED = {
    "PENDING": marked("Será enviado em instantes."),
    "SENT": marked("A Meta confirmou o recebimento."),
    "FAILED": marked("A Meta recusou este evento."),
    "CANCELLED": marked("O movimento foi desfeito antes do envio: a Meta não soube dele."),
    "EXPIRED_WINDOW": marked(
        "A Meta só aceita eventos de até 7 dias. O relatório daqui conta a venda; o da Meta, não."
    ),
    "SKIPPED_NO_CTWA": marked(
        "A Meta não enviou o identificador do clique (acontece com anúncios no Status, posts e conversas orgânicas). Sem ele não há o que informar."
    ),
    "SKIPPED_DUPLICATE_LEAD": marked(
        "Outro ticket do mesmo clique já foi informado como lead: um clique conta uma vez."
    ),
    "SKIPPED_NO_DATASET": marked(
        "Não há para onde enviar. Conecte o número do WhatsApp ou escolha um dataset para a conta de anúncio; o envio recomeça sozinho."
    ),
    "SKIPPED_ACCOUNT_INACTIVE": marked(
        "A conta deste anúncio está desativada aqui. Ative-a e o envio recomeça sozinho, dentro dos 7 dias."
    ),
}
HOLDS = {
    "undo": marked("Espera alguns segundos, caso você desfaça."),
    "enrichment": marked("Espera o nome e a conta do anúncio, no máximo 10 minutos."),
    "throttled": marked(
        "A Meta pediu uma pausa por excesso de chamadas. Tentamos de novo na hora que ela disse."
    ),
    "transient": marked("A Meta está com problemas. Tentamos de novo, com pausas cada vez maiores."),
    "unknown": marked(
        "A resposta não chegou: não se sabe se a Meta recebeu. Vai de novo com o mesmo identificador."
    ),
    "uncounted": marked("A Meta respondeu que não recebeu nenhum evento. Tentamos de novo."),
    "halved": marked("Um evento do mesmo envio foi recusado: procuramos qual."),
    "token": marked("O acesso do perfil terminou. Reconecte um perfil; o envio recomeça sozinho."),
    "permission": marked(
        "Falta uma permissão para este dataset. Reconecte um perfil que a tenha; o envio recomeça sozinho."
    ),
    "blocked": marked(
        "A Meta bloqueou as chamadas por política. Veja a qualidade da conta no Gerenciador de Negócios."
    ),
    "no_token": marked(
        "Nenhum perfil conectado pode enviar. Conecte ou reconecte um; o envio recomeça sozinho."
    ),
}
OUTCOMES = {
    "accepted": marked("Aceito"),
    "refused": marked("Recusado"),
    "refused_with_others": marked("Recusado junto com outros"),
    "throttled": marked("Pausa pedida pela Meta"),
    "transient": marked("Problema da Meta ou da rede"),
    "token": marked("Acesso do perfil terminou"),
    "permission": marked("Sem permissão"),
    "blocked": marked("Bloqueado por política"),
    "not_counted": marked("A Meta contou zero"),
    "unknown": marked("Sem resposta: não se sabe"),
}
# Meta's code and subcode → what happened and what to do. Matched by number: its own texts come in the token owner's language.
CAUSES = {
    "100/33": marked(
        "O dataset não existe ou o perfil não tem acesso a ele. Confira o dataset da conta e dê acesso ao perfil; depois tente de novo."
    ),
    "100/2804003": marked("O evento já tinha mais de 7 dias quando chegou à Meta."),
    "100/2804016": marked("A Meta esperava um dado cifrado. Avise quem opera a instalação."),
    "100/2804019": marked("A Meta não recebeu o valor da venda. Salve o valor no ticket e tente de novo."),
    "100/2804050": marked(
        "A Meta diz que faltam dados da pessoa: o identificador do clique não serve. Não há o que reenviar."
    ),
    "100/2804063": marked("A Meta não reconheceu o canal do evento. Avise quem opera a instalação."),
    "100/2804064": marked("A Meta não aceitou um campo do evento. Avise quem opera a instalação."),
    "100/2804065": marked(
        "A página e o dataset não combinam. Escolha na conta o dataset ligado a este WhatsApp e tente de novo."
    ),
    "100/2804066": marked(
        "A Meta não aceita este tipo de evento para mensagens. Escolha outro evento para a etapa."
    ),
    "100/2804072": marked(
        "A página não é a do anúncio deste clique. Escolha na conta o dataset ligado a este WhatsApp."
    ),
    "100/2804087": marked(
        "A Meta não reconhece este clique neste dataset: ele é de outra conta de WhatsApp, ou o dataset não é o que está ligado aos anúncios."
    ),
    "100/2804116": marked("A Meta não recebeu a conta do WhatsApp. Avise quem opera a instalação."),
    "100/2804131": marked(
        "O dataset não tem página ligada. Escolha na conta o dataset ligado a este WhatsApp e tente de novo."
    ),
    "100/2804132": marked(
        "O dataset não está ligado a esta conta do WhatsApp. No Gerenciador de Eventos, ligue os dois, ou escolha aqui o dataset do WhatsApp; depois tente de novo."
    ),
    "100/2804133": marked(
        "O dataset não tem conta do Instagram ligada. Escolha na conta o dataset ligado a este WhatsApp."
    ),
}
CAUSE_OTHERWISE = marked(
    "A Meta recusou com o código %(code)s. Veja a resposta na última tentativa; com o fbtrace_id o suporte da Meta acha o caso."
)
# Where an admin mends what is in the way: (address, its name).
_PROFILES = ("/settings/meta", marked("Ver perfis e contas"))
_NUMBERS = ("/settings/numbers", marked("Ver números"))
_STAGES = ("/settings/stages", marked("Ver etapas"))
MENDED_AT = {
    "SKIPPED_NO_DATASET": _NUMBERS,
    "SKIPPED_ACCOUNT_INACTIVE": _PROFILES,
    **dict.fromkeys(("token", "permission", "no_token"), _PROFILES),
    **dict.fromkeys(("100/33", "100/2804065", "100/2804072", "100/2804131", "100/2804132", "100/2804133"), _PROFILES),
    "100/2804066": _STAGES,
}  # fmt: skip
# What each event is good for, for whoever chooses one for a stage.
NOTES = {
    "Purchase": marked("Venda, com valor. As campanhas de vendas otimizam por ele."),
    "LeadSubmitted": marked("Lead qualificado. Aceito em todas as contas que conhecemos."),
    "QualifiedLead": marked(
        "Lead qualificado. Só campanhas de leads otimizam por ele; algumas contas o recusam."
    ),
    "InitiateCheckout": marked("Começou a comprar. Campanhas de vendas podem otimizar por ele."),
    "AddToCart": marked("Pôs no carrinho."),
    "ViewContent": marked("Viu um produto ou proposta. Campanhas de vendas podem otimizar por ele."),
    "OrderCreated": marked("Pedido criado."),
    "OrderShipped": marked("Pedido enviado."),
    "OrderDelivered": marked("Pedido entregue."),
    "OrderCanceled": marked("Pedido cancelado."),
    "OrderReturned": marked("Pedido devolvido."),
    "CartAbandoned": marked("Carrinho abandonado."),
    "RatingProvided": marked("Deu uma nota."),
    "ReviewProvided": marked("Escreveu uma avaliação."),
}
AD_REASONS = {
    "not_an_ad": marked("Não é um anúncio: o identificador é de um post ou de outra coisa."),
    "deleted": marked("O anúncio foi excluído."),
    "no_access": marked("Não existe, ou nenhum perfil conectado vê a conta dele."),
    "no_profile": marked("Nenhum perfil do Facebook está conectado."),
    "token_dead": marked("O acesso do perfil terminou. Reconecte-o."),
    "throttled": marked("A Meta pediu uma pausa."),
    "transient": marked("A Meta não respondeu."),
}


def status_word(status: str) -> str:
    """A state as a person calls it."""
    return _(STATUSES[status][1])


def tone(status: str) -> str:
    """Its colour."""
    return STATUSES[status][0]


def cause(code: str | None) -> str:
    """Why Meta refused, and what to do."""
    return _(CAUSES[code]) if code in CAUSES else _(CAUSE_OTHERWISE, code=code or "?")


def explained(event: dict[str, Any]) -> str:
    """What an event's state means, what it waits for, or why it failed."""
    status, hold = event["status"], event["hold_reason"]
    if status == "PENDING" and hold:
        return _(HOLDS[hold])
    if status == "FAILED":
        return cause(event["error_code"])
    return _(EXPLAINED[status])


def mended_at(event: dict[str, Any]) -> tuple[str, str] | None:
    """Where what is in an event's way is mended, and that page's name; None when there is nothing to do there."""
    by_status = {"PENDING": event["hold_reason"], "FAILED": event["error_code"]}
    found = MENDED_AT.get(by_status.get(event["status"], event["status"]) or "")
    return (found[0], _(found[1])) if found else None


def left(time: timedelta) -> str:
    """How much of Meta's window is left: in days, from two days down in hours, in the last hour in minutes."""
    if time >= timedelta(days=2):
        return _("faltam %(num)s dias", num=time.days)
    minutes = max(0, round(time.total_seconds()) // 60)
    return _("faltam %(num)s h", num=minutes // 60) if minutes >= 60 else _("faltam %(num)s min", num=minutes)
