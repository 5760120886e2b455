"""The page Meta requires: whether somebody's data was deleted, by the code they were given. Nobody signs in here."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.connections import deletions
from whatrack.web.api.caller import Db
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import page

router = APIRouter(prefix="/data-deletion")


@router.get("/{code}")
async def show(request: Request, db: Db, code: str) -> Response:
    """Done, or not known here. It tells nothing about whom."""
    async with db.installation() as conn:
        done_at = await deletions.done_at(conn, code) if "\0" not in code else None
    if done_at is None:
        title, text = _("Código desconhecido."), _("Não há pedido de exclusão com este código.")
        return page(request, "data_deletion.html", status=404, title=title, text=text, done_at=None)
    text = _("Os perfis do Facebook desta pessoa e os tokens deles foram apagados desta instalação.")
    return page(request, "data_deletion.html", title=_("Dados apagados."), text=text, done_at=done_at)
