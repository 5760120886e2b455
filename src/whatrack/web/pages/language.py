"""What is chosen at the edge of every page: the language, and the organization on screen."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.errors import NotFound
from whatrack.tenants import sessions, users
from whatrack.web import cookies
from whatrack.web.addresses import own_path
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n
from whatrack.web.pages.forms import sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import see
from whatrack.web.pages.visitor import MaybeVisitor, NotForYou, SignedIn

router = APIRouter()


@router.post("/language")
async def choose_language(request: Request, db: Db, who: MaybeVisitor) -> Response:
    """Read in another language from now on, on this browser and, signed in, on every other."""
    form = await sent_form(request)
    language = form.choice("language", i18n.LANGUAGES)
    answer = see(request, own_path(form.values.get("next", "")))
    if language:
        cookies.put(request, answer, i18n.COOKIE, language, seconds=cookies.YEAR_S)
        if who:
            async with db.installation() as conn:
                await users.set_language(conn, who.user.id, language)
    return answer


@router.post("/organization/choose")
async def choose_organization(request: Request, db: Db, who: SignedIn) -> Response:
    """Put another of the person's organizations on screen."""
    form = await sent_form(request)
    wanted = form.text("organization")
    home = next((home for home in who.homes if str(home.id) == wanted), None)
    if home is None:
        raise NotFound("This person belongs to no such organization.")
    async with db.installation() as conn:
        await sessions.choose(conn, who.session_id, home.id)
    return see(request, "/")


@router.get("/in/{slug}/{path:path}")
async def open_in(request: Request, db: Db, who: SignedIn, slug: str, path: str) -> Response:
    """A page in the organization that the address names, whichever was on screen: where a letter's links lead.

    Like a choice in another tab, it makes pages of the other organization that are still open be refused, not mistaken.
    """
    home = next((home for home in who.homes if home.slug == slug), None)
    if home is None:
        raise NotForYou(
            _(
                "Este endereço é de uma organização da qual você não faz parte com este acesso. Entre com outro, ou peça um convite."
            )
        )
    if home != who.home:
        async with db.installation() as conn:
            await sessions.choose(conn, who.session_id, home.id)
    return see(request, own_path(f"/{path}" + (f"?{request.url.query}" if request.url.query else "")))
