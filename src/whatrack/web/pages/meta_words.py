"""What Meta says, in the reader's words: why a call failed, how a profile or an account is, what a route lacks."""

from whatrack.web.pages.i18n import _, marked

# Reasons of meta/errors.py, states of profiles, and what connecting or choosing a dataset may be refused with.
REASONS = {
    "token_expired": marked("O acesso expirou. Conecte de novo com este perfil."),
    "password_changed": marked("A senha do Facebook mudou. Conecte de novo com este perfil."),
    "app_removed": marked("O acesso foi removido no Facebook. Conecte de novo com este perfil."),
    "checkpoint": marked("O Facebook pede que a pessoa entre em facebook.com e confirme a conta."),
    "unconfirmed": marked("A conta do Facebook não está confirmada. Confirme em facebook.com."),
    "logged_out": marked("A sessão do Facebook foi encerrada. Conecte de novo com este perfil."),
    "role_lost": marked("A pessoa perdeu o papel que tinha. Peça o acesso de volta e conecte de novo."),
    "token_invalid": marked("A Meta não aceita mais este token. Conecte de novo."),
    "token_malformed": marked("Isto não é um token de acesso. Copie o token inteiro, sem espaços."),
    "token_kind": marked("Este token é de um aplicativo ou de uma Página. Use o de uma pessoa ou de um usuário do sistema."),
    "ads_read_missing": marked("Falta a permissão ads_read: sem ela não dá para ler as contas de anúncio."),
    "permission_missing": marked("A Meta recusou por falta de permissão, ou a pessoa não tem papel nesta conta."),
    "no_advanced_access": marked(
        "A Meta recusou o aplicativo (código 10): ele ainda não tem Acesso Avançado, ou a pessoa não tem papel nele."
    ),
    "no_capability": marked("O aplicativo da Meta não tem este recurso liberado (código 3)."),
    "not_visible": marked("A Meta não mostra este item a nenhum perfil conectado."),
    "meta_trouble": marked("A Meta está com problemas agora. Tente de novo em alguns minutos."),
    "unreachable": marked("Não foi possível chegar à Meta. Tente de novo em alguns minutos."),
    "no_answer": marked("A Meta não respondeu a tempo. Tente de novo em alguns minutos."),
    "unreadable": marked("A Meta deu uma resposta que não entendemos. Tente de novo em alguns minutos."),
    "too_large": marked("A Meta deu uma resposta grande demais. Tente de novo em alguns minutos."),
    "part_unanswered": marked("A Meta respondeu só em parte. Tente de novo em alguns minutos."),
    "throttled": marked("A Meta pediu uma pausa: muitas chamadas em pouco tempo. Voltamos a tentar sozinhos."),
    "limit_nearly_used": marked("O limite de chamadas da Meta está quase no fim. Voltamos a tentar sozinhos."),
    "version_gone": marked(
        "A versão da API da Meta em uso terminou. Quem opera a instalação precisa atualizar META_API_VERSION."
    ),
    "bad_request": marked("A Meta recusou o pedido."),
    "blocked": marked("A Meta bloqueou a ação por política. Veja os avisos em facebook.com."),
    "app_unknown": marked(
        "A Meta não aceita o aplicativo. Quem opera a instalação precisa conferir META_APP_ID e META_APP_SECRET."
    ),
    "key_missing": marked(
        "O token foi criptografado com uma chave que falta em WHATRACK_SECRET_KEY. Quem opera a instalação precisa devolvê-la."
    ),
    "too_many_pages": marked("Há contas demais para ler de uma vez."),
    "foreign_next": marked("A Meta apontou para outro endereço, e não o seguimos."),
    "page_again": marked("A Meta repetiu a mesma página de resultados."),
    "too_much_data": marked("São dados demais para um pedido só."),
    "bad_breakdown": marked("A Meta não aceita esta combinação de dados."),
    "code_expired": marked("O código do Facebook expirou. Conecte de novo."),
    "code_used": marked("O código do Facebook já foi usado, ou é de outro aplicativo. Conecte de novo."),
    "redirect_uri_differs": marked(
        "O endereço de retorno não é o cadastrado no aplicativo. Quem opera a instalação precisa conferir WHATRACK_BASE_URL."
    ),
    "login_cancelled": marked("Você cancelou no Facebook. Nenhum perfil foi conectado."),
    "login_failed": marked("O Facebook não concluiu a entrada. Tente de novo."),
    "login_not_set": marked("Falta configurar o aplicativo da Meta nesta instalação."),
    "state_unknown": marked("Este pedido de conexão já foi usado ou não começou aqui. Conecte de novo."),
    "state_foreign": marked("Este pedido de conexão começou com outra pessoa ou em outro navegador. Conecte de novo."),
    "state_expired": marked("A conexão levou mais de dez minutos. Conecte de novo."),
    "no_token": marked("Nenhum perfil conectado que funcione vê esta conta. Conecte um que veja."),
    "account_stale": marked("Outra pessoa mudou esta conta enquanto você olhava. Confira como está agora e decida de novo."),
    "pixel_malformed": marked("O ID de um dataset só tem números."),
    "pixel_is_waba": marked("Este é o ID de uma conta do WhatsApp (WABA), não de um dataset."),
    "pixel_is_phone": marked("Este é o ID de um número de telefone, não de um dataset."),
    "pixel_is_account": marked("Este é o ID de uma conta de anúncio, não de um dataset."),
    "pixel_is_other": marked("Este ID não é de um dataset."),
    "pixel_not_visible": marked("Nenhum perfil conectado vê um dataset com este ID."),
    "pixel_unconfirmed": marked("Este dataset não é ligado a este WhatsApp. Confirme para usá-lo assim mesmo."),
    "events_permission_missing": marked(
        "Para criar o dataset do WhatsApp falta a permissão whatsapp_business_manage_events, no token do número ou em um perfil."
    ),
    "whatsapp_permission_missing": marked("Falta a permissão whatsapp_business_management neste token."),
    "waba_needed": marked("O token não diz de quais contas do WhatsApp é. Preencha o ID da conta (WABA)."),
    "number_not_visible": marked("Este token não vê um número com este ID: confira o ID, ou use um token de quem é dono dele."),
    "number_taken": marked("Este número já está ativo em outra organização."),
    "id_malformed": marked("Um ID da Meta só tem números."),
    "bad_signature": marked("A assinatura não confere."),
}  # fmt: skip
# Ad account statuses as Meta numbers them, with a colour.
ACCOUNT_STATUSES = {
    1: (marked("Ativa"), "green"),
    2: (marked("Desativada pela Meta"), "red"),
    3: (marked("Pagamento pendente"), "amber"),
    7: (marked("Em análise de risco"), "amber"),
    8: (marked("Acerto pendente"), "amber"),
    9: (marked("Em período de tolerância"), "amber"),
    100: (marked("Fechamento pendente"), "amber"),
    101: (marked("Fechada"), "slate"),
    201: (marked("Ativa"), "green"),
    202: (marked("Fechada"), "slate"),
}
# What a route lacks.
MISSING = {
    "account_inactive": marked("conta desligada: nenhuma conversão é enviada"),
    "number_unknown": marked("nenhum número do WhatsApp conectado"),
    "no_dataset": marked("falta um dataset: escolha um, ou conecte o número com o token dele"),
    "no_token": marked("falta um perfil ou número com token que funcione"),
    "pixel_not_linked": marked("o dataset escolhido não é ligado a este WhatsApp, e o do próprio WhatsApp vale no lugar"),
}  # fmt: skip


def reason(code: str | None) -> str:
    """Why, in words; a code without words stays as it is."""
    words = REASONS.get(code or "")
    return _(words) if words else code or ""


def account_status(number: int) -> tuple[str, str]:
    """(word, colour) of an ad account's status."""
    words, tone = ACCOUNT_STATUSES.get(number, (marked("Situação desconhecida"), "slate"))
    return _(words), tone


def missing(code: str) -> str:
    """What a route lacks, in words."""
    return _(MISSING[code]) if code in MISSING else code
