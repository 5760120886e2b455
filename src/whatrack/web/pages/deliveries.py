"""Deliveries, for operators of the installation: what came, what waits, what failed and why, and processing it again.

Bodies hold people's words and phone numbers: who opened one is in the service's log.
"""

import json
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from whatrack.inbox import archive, replay, store
from whatrack.observe import logger
from whatrack.web.api.caller import Db
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _, marked, ngettext
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import OperatorPage

router = APIRouter(prefix="/deliveries")
MAX_ID = 2**63 - 1
LENGTH = 50
SHOWN = 65_536  # characters of a body
STATES = {
    "recent": marked("Recentes"),
    "pending": marked("Na fila"),
    "failed": marked("Com falha"),
    "quarantined": marked("Em quarentena"),
}
# Why a delivery is where it is: what happened, what to do.
REASONS = {
    "intake": (marked("Chegou agora"), marked("Será processada em instantes.")),
    "released": (marked("Saiu da quarentena"), marked("O número foi ativado; será processada em instantes.")),
    "replay": (marked("Reprocessamento pedido"), marked("Será processada de novo em instantes.")),
    "not_json": (
        marked("Não é JSON"),
        marked("A assinatura confere, mas o corpo não pode ser lido. Veja o corpo; se for da Meta, avise quem mantém o WhaTrack."),
    ),
    "not_a_webhook": (
        marked("Não tem o formato de um webhook"),
        marked("Confira no painel da Meta que produto envia para este endereço. Depois de corrigir, reprocesse."),
    ),
    "no_number": (
        marked("Não diz de que número é"),
        marked("Uma mudança não traz phone_number_id nem WABA. O resto da entrega foi processado. Veja o corpo."),
    ),
    "bad_change": (
        marked("Uma mudança não pôde ser lida"),
        marked("O resto da entrega foi processado. Depois de atualizar o WhaTrack, reprocesse."),
    ),
    "bad_value": (
        marked("Uma parte tem outro formato que o esperado"),
        marked("O que pôde ser lido foi processado. Depois de atualizar o WhaTrack, reprocesse."),
    ),
    "bad_message": (
        marked("Uma mensagem não pôde ser lida"),
        marked("As outras mensagens da entrega foram processadas. Depois de atualizar o WhaTrack, reprocesse."),
    ),
    "bad_history": (
        marked("Uma parte do histórico não pôde ser lida"),
        marked("O resto do histórico foi processado. Depois de atualizar o WhaTrack, reprocesse."),
    ),
    "bad_status": (
        marked("Um status não pôde ser lido"),
        marked("Os outros foram contados. Nenhuma mensagem falta."),
    ),
    "no_sender": (
        marked("Uma mensagem não diz de quem é"),
        marked("Sem número nem identificador não há contato. As outras mensagens foram processadas."),
    ),
    "refused_by_database": (
        marked("O banco de dados recusou"),
        marked("Nada da entrega foi gravado. O detalhe traz o código do erro; depois de corrigir, reprocesse."),
    ),
    "unknown_number": (
        marked("Número não ativado"),
        marked("Ative o número com whatrack number add: o que espera por ele é processado na hora."),
    ),
    "unknown_waba": (
        marked("Conta do WhatsApp (WABA) sem número ativo"),
        marked("Ative um número desta conta com whatrack number add: o que espera por ela é processado na hora."),
    ),
}  # fmt: skip

log = logger(__name__)
Sent = Annotated[Form, Depends(sent_form)]
State = Annotated[str, Query(pattern=f"^({'|'.join(STATES)})$")]
# The last row's day and id, or its id and route.
After = Annotated[str, Query(pattern=r"^(\d{4}-\d{2}-\d{2}|\d{1,19})\.[0-9a-z:]{0,80}$")]


@router.get("")
async def show(
    request: Request, db: Db, _who: OperatorPage, state: State = "recent", after: After = f"{MAX_ID}."
) -> Response:
    """One state's deliveries, newest first, with the counts of all."""
    async with db.installation() as conn:
        counts = await store.counts(conn)
        found: list[archive.Arrived] | list[store.DeliveryState]
        if state == "recent":
            found = await archive.recent(conn, _place(after), LENGTH)
        else:
            last, _dot, route = after.partition(".")
            before = (min(int(last), MAX_ID) if last.isdigit() else MAX_ID, route)
            found = await store.list_states(conn, state, before, LENGTH)
    last_row = found[-1] if len(found) == LENGTH else None
    return page(
        request,
        "deliveries.html",
        state=state,
        states=STATES,
        counts={name: getattr(counts, name, None) for name in STATES},
        done=counts.done,
        found=found,
        next=_after(last_row) if last_row else None,
        is_first=after == f"{MAX_ID}.",
        reasons=REASONS,
    )


@router.post("/replay")
async def replay_all(request: Request, db: Db, who: OperatorPage, form: Sent) -> Response:
    """Process everything failed, or everything quarantined, again. Safe at any time."""
    state = form.choice("state", ("failed", "quarantined")) or "failed"
    async with db.installation() as conn:
        queued = await replay.replay_state(conn, state)
    log.info("deliveries_replayed", state=state, queued=queued, actor=who.user.actor)
    return see(request, f"/deliveries?state={state}", _queued(queued))


@router.get("/{day}/{delivery_id}")
async def show_one(request: Request, db: Db, who: OperatorPage, day: date, delivery_id: int) -> Response:
    """One delivery: its body, and what of it is not done."""
    async with db.installation() as conn:
        opened = await archive.one(conn, day, min(max(delivery_id, 0), MAX_ID))
    log.info("delivery_opened", delivery=opened.id, actor=who.user.actor)
    text = readable(opened.body)
    return page(
        request,
        "delivery.html",
        delivery=opened,
        text=text[:SHOWN],
        is_cut=len(text) > SHOWN,
        states=STATES,
        reasons=REASONS,
    )


@router.post("/{day}/{delivery_id}/replay")
async def replay_one(request: Request, db: Db, who: OperatorPage, day: date, delivery_id: int) -> Response:
    """Process one delivery again."""
    async with db.installation() as conn:
        opened = await archive.one(conn, day, min(max(delivery_id, 0), MAX_ID))
        queued = await replay.replay_one(conn, day, opened.id)
    log.info("deliveries_replayed", delivery=opened.id, queued=queued, actor=who.user.actor)
    return see(request, f"/deliveries/{day}/{opened.id}", _queued(queued))


def readable(body: bytes) -> str:
    """A body as text: JSON indented, anything else as it is, with what no page can hold replaced."""
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")
    shown = "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text[: SHOWN + 1])
    return shown.encode("utf-8", "replace").decode()


def _place(after: str) -> tuple[date, int]:
    """Where the list of recent deliveries goes on; from the newest when it says nothing of the kind."""
    day, _dot, last = after.partition(".")
    try:
        return date.fromisoformat(day), min(int(last), MAX_ID)
    except ValueError:
        return date.max, MAX_ID


def _after(row: archive.Arrived | store.DeliveryState) -> str:
    return f"{row.day}.{row.id}" if isinstance(row, archive.Arrived) else f"{row.id}.{row.route}"


def _queued(count: int) -> str:
    if not count:
        return _("Nada a reprocessar: não há entregas, ou já estão na fila.")
    return ngettext(
        "%(num)s entrega foi para a fila e será processada de novo.",
        "%(num)s entregas foram para a fila e serão processadas de novo.",
        count,
    )
