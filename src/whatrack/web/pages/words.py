"""What rules refuse, in the reader's words: the codes of errors.py in Portuguese, translated as all else is."""

from whatrack.errors import Refused
from whatrack.web.pages.i18n import _, marked

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
    "not_a_member": marked("Esta pessoa não faz parte da organização."),
    "not_won": marked("Só um ticket ganho pode ter reembolso."),
    "refund_exceeds_sale": marked("Os reembolsos juntos passam do valor da venda."),
    "too_late": marked("Não dá mais para desfazer este movimento. Mova o ticket de novo."),
    "bad_email": marked("Digite um e-mail completo, como ana@exemplo.com.br."),
    "deal_value_required": marked("Diga quanto valeu a venda."),
    "email_taken": marked("Já existe uma conta com este e-mail."),
    "open_ticket_exists": marked("Este contato já tem um ticket aberto neste número. Continue por aquele."),
    "slug_taken": marked("Já existe uma organização com este endereço curto. Escolha outro."),
    "stale": marked(
        "Outra pessoa mudou este ticket enquanto você olhava. Nada foi alterado: veja como está agora e decida de novo."
    ),
}


def said(error: Refused) -> str:
    """Why something was refused. A code without words of its own keeps the rule's English: a test finds it."""
    words = REFUSALS.get(error.code)
    return _(words) if words else error.detail
