"""What rules refuse, in the reader's words: the codes of errors.py in Portuguese, translated as all else is."""

from whatrack.errors import Refused
from whatrack.tenants.access import RANK
from whatrack.web.pages import meta_words
from whatrack.web.pages.i18n import _, marked

ROLES = {
    "owner": marked("Proprietário"),
    "admin": marked("Administrador"),
    "agent": marked("Atendente"),
    "viewer": marked("Leitor"),
}
# What each role may do, for who gives it.
ROLE_HINTS = {
    "owner": marked("Faz tudo, e decide quem mais é proprietário."),
    "admin": marked("Cuida de pessoas, chaves e ajustes."),
    "agent": marked("Atende: move tickets, registra vendas e perdas."),
    "viewer": marked("Só olha, e não vê telefones completos."),
}
REFUSALS = {
    "first_stage_stays": marked(
        "É nesta etapa que os tickets começam. Antes, dê o papel de entrada a outra etapa."
    ),
    "group_of_tickets": marked(
        "Esta etapa tem tickets: mudar o grupo tornaria falso o status deles. Antes, mova os tickets para outra etapa."
    ),
    "last_of_group": marked(
        "É a última etapa deste grupo, e o quadro precisa de ao menos uma. Crie outra antes."
    ),
    "role_of_group": marked(
        "Este papel é de outro grupo: entrada e qualificação são de etapas em andamento, venda das de ganho, perda das de perda."
    ),
    "purchase_is_won": marked("Purchase leva o valor da venda: só uma etapa de ganho pode informá-lo."),
    "entry_owes_nothing": marked(
        "Os tickets começam nesta etapa sozinhos, sem ninguém decidir: ela não informa nada à Meta."
    ),
    "already_sent": marked("A Meta já aceitou este evento: não é enviado duas vezes."),
    "being_sent": marked("Este evento está sendo enviado agora."),
    "not_retryable": marked("Este evento não pode ser enviado de novo."),
    "window_closed": marked("Este evento passou dos 7 dias que a Meta aceita."),
    "duplicate_lead": marked("Outro ticket já informa este clique: seria contado duas vezes."),
    "phrase_length": marked("A frase tem de 3 a 80 letras."),
    "stage_gone": marked("Esta etapa foi removida enquanto você olhava. Escolha outra."),
    "stage_has_tickets": marked("Escolha para onde vão os tickets desta etapa."),
    "stage_name_taken": marked("Já existe uma etapa com este nome."),
    "stage_stale": marked(
        "Outra pessoa mudou esta etapa enquanto você editava. Confira em outra aba como está agora; salvar de novo vale por cima."
    ),
    "too_many_stages": marked("O quadro já tem o máximo de etapas. Remova uma antes de criar outra."),
    "amount_not_positive": marked("O valor precisa ser maior que zero."),
    "before_the_sale": marked("O reembolso não pode ser anterior à venda."),
    "in_the_future": marked("A data não pode estar no futuro."),
    "belongs_elsewhere": marked(
        "Esta pessoa também opera a instalação ou está em outras organizações: só quem opera a instalação pode criar o link, com “whatrack user reset-link”."
    ),
    "has_refunds": marked(
        "Este ticket tem reembolsos: remova-os antes, ou mantenha a venda com valor e data que os comportem."
    ),
    "no_such_number": marked("Este número não é da organização. Escolha um dos dela."),
    "no_such_stage": marked("Esta etapa não existe mais. Escolha outra."),
    "other_organization": marked(
        "Você escolheu outra organização em outra aba. Nada foi salvo: confira em qual está e tente de novo."
    ),
    "not_a_member": marked("Esta pessoa não faz parte da organização."),
    "not_won": marked("Só um ticket ganho pode ter reembolso."),
    "refund_exceeds_sale": marked("Os reembolsos juntos passam do valor da venda."),
    "too_late": marked("Não dá mais para desfazer este movimento. Mova o ticket de novo."),
    "already_member": marked("Esta pessoa já faz parte da organização."),
    "bad_email": marked("Digite um e-mail completo, como ana@exemplo.com.br."),
    "deal_value_required": marked("Diga quanto valeu a venda."),
    "email_taken": marked("Já existe uma conta com este e-mail."),
    "last_owner": marked(
        "A organização precisa de pelo menos um proprietário. Antes, torne outra pessoa proprietária."
    ),
    "open_ticket_exists": marked("Este contato já tem um ticket aberto neste número. Continue por aquele."),
    "password_is_personal": marked("A senha não pode ser o seu nome nem o seu e-mail."),
    "password_odd": marked("A senha tem um caractere que não pode ser usado. Apague e digite de novo."),
    "password_too_common": marked("Esta senha é uma das primeiras que alguém tentaria. Escolha outra."),
    "password_too_long": marked("Use no máximo 256 caracteres."),
    "password_too_short": marked("Use pelo menos 10 caracteres. Uma frase curta serve."),
    "slug_taken": marked("Já existe uma organização com este endereço curto. Escolha outro."),
    "stale": marked(
        "Outra pessoa mudou este ticket enquanto você olhava. Nada foi alterado: veja como está agora e decida de novo."
    ),
    "too_many_links": marked("Já há links demais. Revogue um antes de criar outro."),
    "cost_overlaps": marked("Outra regra já vale em alguns destes dias. Antes, dê um fim a ela."),
    "day_out_of_bounds": marked("A data precisa estar entre 01/01/2000 e 31/12/9998."),
    "day_unreadable": marked("Escolha uma data."),
    "account_inactive": marked("Nenhuma conta de anúncio está ligada. Ligue uma em Meta Ads."),
    "sync_too_soon": marked("Alguém acabou de pedir: espere um minuto."),
    "wrong_password": marked("Esta não é a sua senha atual."),
}


def role_name(role: str) -> str:
    """A role as people call it."""
    return _(ROLES[role])


def roles_up_to(role: str) -> list[tuple[str, str]]:
    """The roles that somebody with this one may give, the least first."""
    return [(name, role_name(name)) for name in RANK if RANK[name] <= RANK[role]]


def role_hint(role: str) -> str:
    """What somebody with this role may do."""
    return _(ROLE_HINTS[role])


def said(error: Refused) -> str:
    """Why something was refused. A code without words of its own keeps the rule's English: a test finds it."""
    words = REFUSALS.get(error.code) or meta_words.REASONS.get(error.code)
    return _(words) if words else error.detail
