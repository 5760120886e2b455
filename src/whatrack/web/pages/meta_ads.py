"""Settings › Meta Ads: the profiles that are connected, and every ad account they see."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack import db as database
from whatrack import flow_connections
from whatrack.connections import ad_accounts, profiles, tokens
from whatrack.connections.ad_accounts import Search
from whatrack.errors import Refused
from whatrack.web.api.caller import Db
from whatrack.web.api.meta_ads import cursor_of, read_cursor
from whatrack.web.connect import Desk
from whatrack.web.pages import meta_words
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Admin, Member

router = APIRouter(prefix="/settings/meta")
HERE = "/settings/meta"
AT_ONCE = 50
SOON_DAYS = 10

Sent = Annotated[Form, Depends(sent_form)]


@router.get("")
async def show(request: Request, db: Db, who: Member, problem: str = "") -> Response:
    """Profiles and accounts. Old lists are read from Meta first, briefly; when it does not answer, the page says so."""
    desk = Desk(request, who)
    await desk.refresh(only_due=True)
    search = _search(request)
    async with db.tenant(who.organization_id) as conn:
        found = await ad_accounts.page(conn, who.organization_id, search)
        overview = await tokens.overview(conn, who.organization_id, found[:AT_ONCE])
        known, active = await ad_accounts.counts(conn, who.organization_id)
        now = await database.now(conn)
    shown = found[:AT_ONCE]
    return page(
        request,
        "meta.html",
        **_about(desk),
        overview=overview,
        accounts=shown,
        next=cursor_of(shown[-1]) if len(found) > AT_ONCE else None,
        search=search,
        is_filtered=any((search.text, search.active is not None, search.profile, search.after)),
        known=known,
        active=active,
        now=now,
        problem=meta_words.reason(problem) if problem in meta_words.REASONS else "",
        back=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
    )


def _search(request: Request) -> Search:
    """The filters of the address; one that cannot be read is no filter."""
    sent = request.query_params
    text = sent.get("q", "").replace("\0", "").strip()[:200]
    try:
        profile = UUID(sent["profile"]) if sent.get("profile") else None
        after = read_cursor(sent["after"]) if sent.get("after") else None
    except (ValueError, Refused):
        profile, after = None, None
    active = {"on": True, "off": False}.get(sent.get("active", ""))
    return Search(text or None, active, profile, after, AT_ONCE + 1)


def _about(desk: Desk) -> dict[str, Any]:
    """What every page about Meta needs: whether a login is possible, and words for what Meta says."""
    return {
        "missing_settings": desk.settings.missing_for_login(),
        "redirect_uri": desk.redirect_uri,
        "scopes": desk.settings.meta_login_scopes.split(","),
        "may_change": desk.access.role in ("admin", "owner"),
        "reason": meta_words.reason,
        "missing": meta_words.missing,
        "account_status": meta_words.account_status,
        "soon_days": SOON_DAYS,
    }


@router.post("/refresh")
async def refresh(request: Request, who: Admin) -> Response:
    """Read every working profile's accounts now."""
    desk = Desk(request, who)
    await desk.refresh(only_due=False)
    async with desk.db.tenant(who.organization_id) as conn:
        late = [each for each in await profiles.everyone(conn, who.organization_id) if each.list_error]
    if late:
        return see(request, HERE)  # the page says which, and why
    return see(request, HERE, _("Lista de contas atualizada."))


@router.get("/token")
async def token_page(request: Request, who: Admin) -> Response:
    """The form for a token that was made elsewhere: a system user's, or one of another app."""
    return page(request, "meta_token.html", form=Form())


@router.post("/token")
async def add_token(request: Request, who: Admin, form: Sent) -> Response:
    """Connect whoever the token belongs to."""
    token = form.secret("access_token")
    if form.ok:
        try:
            found = await Desk(request, who).by_token(token)
        except Refused as error:
            form.refuse(error, ("access_token",))
        else:
            return see(request, HERE, _("Perfil %(name)s conectado.", name=found.fb_user_name))
    return page(request, "meta_token.html", status=422, form=form)


@router.post("/profiles/{profile_id}/check")
async def check(request: Request, who: Admin, profile_id: UUID) -> Response:
    """Ask Meta now how a profile is, and which accounts it sees."""
    found = await Desk(request, who).check(profile_id)
    if found.failures:
        text = _("A Meta não respondeu: %(name)s continua como estava.", name=found.fb_user_name)
    elif found.status == "ACTIVE":
        text = _("%(name)s funciona.", name=found.fb_user_name)
    else:
        text = f"{found.fb_user_name}: {meta_words.reason(found.status_reason)}"
    return see(request, HERE, text)


@router.get("/profiles/{profile_id}/remove")
async def ask(request: Request, db: Db, who: Admin, profile_id: UUID) -> Response:
    """What disconnecting a profile means, before it is done."""
    async with db.tenant(who.organization_id) as conn:
        found = await profiles.one(conn, who.organization_id, profile_id)
        alone = await ad_accounts.only_seen_by(conn, who.organization_id, profile_id)
    return page(request, "meta_remove.html", profile=found, alone=alone)


@router.post("/profiles/{profile_id}/remove")
async def remove(request: Request, db: Db, who: Admin, profile_id: UUID) -> Response:
    """Disconnect a profile."""
    async with db.tenant(who.organization_id) as conn:
        found = await profiles.one(conn, who.organization_id, profile_id)
        await profiles.remove(conn, who, profile_id)
    return see(request, HERE, _("Perfil %(name)s desconectado.", name=found.fb_user_name))


@router.post("/datasets/{waba_id}")
async def make_dataset(request: Request, who: Admin, waba_id: str) -> Response:
    """Have Meta make (or give) the dataset of one of the organization's WhatsApp accounts."""
    desk = Desk(request, who)
    found = await flow_connections.own_dataset(desk.db, desk.graph, desk.keys, who, waba_id)
    if found.dataset_id:
        return see(request, HERE, _("Dataset do WhatsApp pronto: %(id)s.", id=found.dataset_id))
    return see(request, f"{HERE}?problem={found.dataset_reason}")


def switched(name: str, *, is_on: bool) -> str:
    """What to say after an account was turned on or off."""
    if is_on:
        return _("Conta %(name)s ligada.", name=name)
    return _("Conta %(name)s desligada: nada é lido nem enviado por ela.", name=name)
