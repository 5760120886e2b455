"""The stages' settings: everyone sees the board's columns, admins change them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack import flow
from whatrack.conversions import rules
from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.tenants.access import Access
from whatrack.tickets import stage_settings, stages
from whatrack.tickets.stage_settings import COLORS, GROUP_OF_ROLE, GROUPS, Wanted
from whatrack.tickets.stages import Stage
from whatrack.web.api.caller import Db
from whatrack.web.pages import event_words
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _, marked, ngettext
from whatrack.web.pages.render import by_htmx, page, see
from whatrack.web.pages.visitor import Admin, Member
from whatrack.web.pages.words import said

router = APIRouter(prefix="/settings/stages")
HERE = "/settings/stages"
FIELDS = ("name", "group", "role", "probability", "color", "event_name")
STEPS = {"up": -1, "down": 1}

WORDS = {
    "ACTIVE": marked("Em andamento"),
    "WON": marked("Ganho"),
    "LOST": marked("Perdido"),
    "new": marked("Entrada: onde os tickets começam"),
    "qualified": marked("Qualificação"),
    "won": marked("Venda"),
    "lost": marked("Perda"),
    "slate": marked("Cinza"),
    "blue": marked("Azul"),
    "teal": marked("Turquesa"),
    "green": marked("Verde"),
    "amber": marked("Âmbar"),
    "orange": marked("Laranja"),
    "red": marked("Vermelho"),
    "pink": marked("Rosa"),
    "violet": marked("Violeta"),
}

Sent = Annotated[Form, Depends(sent_form)]


@router.get("")
async def show(request: Request, db: Db, who: Member) -> Response:
    """The stages in the board's order."""
    return page(request, "stages.html", **await _listed(db, who))


@router.get("/new")
async def new(request: Request, who: Admin) -> Response:
    """The form for a new stage."""
    return _form(request, Form(None, group="ACTIVE", probability=50, color="violet"), None, 0)


@router.post("/new")
async def add(request: Request, db: Db, who: Admin, form: Sent) -> Response:
    """Add a stage."""
    wanted = _read(form)
    if form.ok:
        try:
            async with db.tenant(who.organization_id) as conn:
                await stage_settings.add(conn, who, wanted)
        except Refused as error:
            form.refuse(error, FIELDS)
        else:
            return see(request, HERE, _("Etapa %(name)s adicionada.", name=wanted.name))
    return _form(request, form, None, 0)


@router.get("/{stage_id}")
async def edit(request: Request, db: Db, who: Admin, stage_id: UUID) -> Response:
    """One stage's form."""
    stage, held = await _one(db, who, stage_id)
    start = {name: getattr(stage, name) for name in FIELDS}
    return _form(request, Form(None, **start), stage, held)


@router.post("/{stage_id}")
async def save(request: Request, db: Db, who: Admin, stage_id: UUID, form: Sent) -> Response:
    """Change a stage."""
    wanted = _read(form)
    if form.ok:
        try:
            async with db.tenant(who.organization_id) as conn:
                await stage_settings.edit(conn, who, stage_id, wanted, form.values.get("seen", ""))
        except Refused as error:
            form.refuse(error, FIELDS)
        else:
            return see(request, HERE, _("Etapa %(name)s salva.", name=wanted.name))
    stage, held = await _one(db, who, stage_id)
    return _form(request, form, stage, held)


@router.post("/{stage_id}/shift")
async def shift(request: Request, db: Db, who: Admin, stage_id: UUID, form: Sent) -> Response:
    """Move a stage one place up or down in the list, left or right on the board."""
    step = STEPS.get(form.choice("step", STEPS))
    if step:
        async with db.tenant(who.organization_id) as conn:
            await stage_settings.shift(conn, who, stage_id, step)
    if by_htmx(request):
        return page(request, "stages.html", "_/stages.html", **await _listed(db, who))
    return see(request, HERE)


@router.get("/{stage_id}/remove")
async def ask(request: Request, db: Db, who: Admin, stage_id: UUID) -> Response:
    """What removing a stage means, before it is done."""
    return await _question(request, db, who, stage_id, Form(), status=200)


@router.post("/{stage_id}/remove")
async def remove(request: Request, db: Db, who: Admin, stage_id: UUID, form: Sent) -> Response:
    """Remove a stage; its tickets go to the one that was chosen."""
    stage, _held = await _one(db, who, stage_id)
    to = next((UUID(text) for text in [form.values.get("to", "")] if _is_id(text)), None)
    try:
        async with db.tenant(who.organization_id) as conn:
            moved = await flow.remove_stage(conn, who, stage_id, to)
    except Refused as error:
        form.refuse(error, ("to",))
        return await _question(request, db, who, stage_id, form, status=422)
    notice = _("Etapa %(name)s removida.", name=stage.name)
    if moved:
        notice += " " + ngettext("%(num)s ticket foi movido.", "%(num)s tickets foram movidos.", moved)
    return see(request, HERE, notice)


def _read(form: Form) -> Wanted:
    return Wanted(
        name=form.text("name", most=60),
        group=form.choice("group", GROUPS),
        role=form.choice("role", GROUP_OF_ROLE, required=False) or None,
        probability=form.whole("probability", 0, 100),
        color=form.choice("color", COLORS),
        event_name=form.choice("event_name", rules.EVENT_NAMES, required=False) or None,
    )


async def _listed(db: Database, who: Access) -> dict[str, Any]:
    async with db.tenant(who.organization_id) as conn:
        found = await stages.all_stages(conn, who.organization_id)
        counts = await stage_settings.ticket_counts(conn, who.organization_id)
    return {"stages": found, "counts": counts, "words": WORDS, "may_change": who.role in ("admin", "owner")}


async def _one(db: Database, who: Access, stage_id: UUID) -> tuple[Stage, int]:
    """A stage and how many tickets it holds."""
    async with db.tenant(who.organization_id) as conn:
        stage = await stage_settings.one(conn, who.organization_id, stage_id)
        return stage, await stage_settings.ticket_count(conn, who.organization_id, stage_id)


def _form(request: Request, form: Form, stage: Stage | None, held: int) -> Response:
    return page(
        request,
        "stage.html",
        status=200 if form.ok else 422,
        form=form,
        stage=stage,
        seen=Wanted.of(stage).mark if stage else "",
        held=held,
        words=WORDS,
        groups=[(name, _(WORDS[name])) for name in GROUPS],
        roles=[("", _("Nenhum")), *((name, _(WORDS[name])) for name in GROUP_OF_ROLE)],
        colors=COLORS,
        events=[("", _("Nenhum")), *((name, name) for name in rules.EVENT_NAMES)],
        notes=[(name, _(event_words.NOTES[name])) for name in rules.EVENT_NAMES],
    )


async def _question(
    request: Request, db: Database, who: Access, stage_id: UUID, form: Form, *, status: int
) -> Response:
    async with db.tenant(who.organization_id) as conn:
        found = await stages.all_stages(conn, who.organization_id)
        stage = await stage_settings.one(conn, who.organization_id, stage_id)
        held = await stage_settings.ticket_count(conn, who.organization_id, stage_id)
    refused = stage_settings.why_it_stays(stage, found)
    return page(
        request,
        "stage_remove.html",
        status=status,
        form=form,
        stage=stage,
        held=held,
        heirs=[(each.id, each.name) for each in stage_settings.heirs(stage, found)],
        why_it_stays=said(refused) if refused else "",
    )


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
