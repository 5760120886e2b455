"""What rules refuse, in the reader's words: the codes of errors.py in Portuguese, translated as all else is."""

from whatrack.errors import Refused
from whatrack.tenants.access import RANK
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
    "wrong_password": marked("Esta não é a sua senha atual."),
}


def role_name(role: str) -> str:
    """A role as people call it."""
    return _(ROLES[role])


def roles_up_to(role: str) -> list[tuple[str, str]]:
    """The roles that somebody with this one may give, the least first, each with what it may do."""
    given = [name for name in RANK if RANK[name] <= RANK[role]]
    return [(name, f"{role_name(name)}: {_(ROLE_HINTS[name])}") for name in given]


def said(error: Refused) -> str:
    """Why something was refused. A code without words of its own keeps the rule's English: a test finds it."""
    words = REFUSALS.get(error.code)
    return _(words) if words else error.detail
