"""Who is looking at a page: read from the session cookie, once a request."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from whatrack.errors import Forbidden, Refused, Unauthorized
from whatrack.tenants import login
from whatrack.tenants.access import Access
from whatrack.tenants.sessions import Visitor
from whatrack.web.api.caller import database
from whatrack.web.cookies import session_token
from whatrack.web.pages import i18n, own_forms
from whatrack.web.pages.forms import sent_form
from whatrack.web.pages.i18n import _

CHOOSING = "/organization/choose"  # from whichever page


class NotForYou(Forbidden):
    """Forbidden, said in the reader's words."""


async def maybe(request: Request) -> Visitor | None:
    """The visitor, or None when nobody is signed in here."""
    token = session_token(request)
    found = await login.visitor(database(request), token) if token else None
    request.state.visitor = found
    asked_for = await _organization_of_page(request) if found else ""
    if found and asked_for and not (found.home and str(found.home.id) == asked_for):
        raise Refused("other_organization", "Another organization was chosen in another tab.")
    if found and found.home:
        i18n.set_zone(found.home.timezone)
        own_forms.organization.set(str(found.home.id))
    return found


async def _organization_of_page(request: Request) -> str:
    """Which organization the page is of that a request comes from, as htmx or the form itself says; '' when neither does."""
    if request.method != "POST" or request.url.path == CHOOSING:
        return request.headers.get("x-organization", "")
    form = await sent_form(request)
    return request.headers.get("x-organization") or form.values.get(own_forms.FIELD, "")


async def signed_in(found: Annotated[Visitor | None, Depends(maybe)]) -> Visitor:
    """A person; without one the sign-in page comes first, and leads back."""
    if found is None:
        raise Unauthorized("Sign in first.")
    return found


async def member(found: Annotated[Visitor, Depends(signed_in)]) -> Access:
    """A person in an organization."""
    if found.access is None:
        raise NotForYou(
            _("Você ainda não faz parte de nenhuma organização. Peça um convite a quem administra a sua.")
        )
    return found.access


def at_least(role: str) -> Callable[[Access], Awaitable[Access]]:
    """A member with this role or a higher one."""

    async def checked(access: Annotated[Access, Depends(member)]) -> Access:
        access.require(role)
        return access

    return checked


async def operator(found: Annotated[Visitor, Depends(signed_in)]) -> Visitor:
    """An operator of the installation."""
    if not found.user.is_operator:
        raise NotForYou(_("Esta página é de quem opera a instalação."))
    return found


MaybeVisitor = Annotated[Visitor | None, Depends(maybe)]
SignedIn = Annotated[Visitor, Depends(signed_in)]
Member = Annotated[Access, Depends(member)]
Agent = Annotated[Access, Depends(at_least("agent"))]
Admin = Annotated[Access, Depends(at_least("admin"))]
OperatorPage = Annotated[Visitor, Depends(operator)]
