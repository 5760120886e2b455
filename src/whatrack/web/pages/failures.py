"""Failures as a person sees them: what happened, what to do next, in their language. Programs get problem+json."""

from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from whatrack.errors import Forbidden, NotFound, Refused, Unauthorized, WhatrackError
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import by_htmx, page, see
from whatrack.web.pages.visitor import NotForYou
from whatrack.web.pages.words import said

FOR_PROGRAMS = ("/api/", "/healthz", "/readyz", "/metrics", "/static/")
Handler = Callable[[Request, Exception], Awaitable[Response]]


def install(app: FastAPI) -> None:
    """Answer failures of pages as pages; leave those of the API to problems.install, which came before."""
    kinds = (WhatrackError, RequestValidationError, HTTPException, OperationalError, PoolTimeout, Exception)
    for kind in kinds:
        app.add_exception_handler(kind, _split(app.exception_handlers[kind]))  # type: ignore[arg-type] # what we put there


def _split(for_programs: Handler) -> Handler:
    async def answer(request: Request, error: Exception) -> Response:
        answered = await for_programs(request, error)  # logs what is to be logged
        if request.url.path.startswith(FOR_PROGRAMS):
            return answered
        if isinstance(error, Refused) and error.code == "other_organization" and by_htmx(request):
            return Response(status_code=204, headers={"HX-Refresh": "true"})
        if (
            answered.status_code == 405 and request.method == "GET"
        ):  # a form's address, come to after signing in
            return see(request, request.url.path.rpartition("/")[0] or "/")
        if isinstance(error, Unauthorized):
            return see(request, f"/login?next={quote(_back(request), safe='')}")
        return _page(request, answered.status_code, error)

    return answer


def _back(request: Request) -> str:
    """Where a person was: the page itself, or the one whose form it was."""
    if request.method == "GET" and not by_htmx(request):
        return request.url.path + (f"?{request.url.query}" if request.url.query else "")
    where = urlsplit(request.headers.get("hx-current-url") or request.headers.get("referer") or "")
    return (where.path or "/") + (f"?{where.query}" if where.query else "")


def _page(request: Request, status: int, error: Exception) -> Response:
    title, text = _words(status, error)
    if by_htmx(request):
        headers = {"HX-Retarget": "#toasts", "HX-Reswap": "beforeend"}
        return page(
            request,
            "_/toast.html",
            status=status,
            headers=headers,
            tone="error",
            text=f"{title} {text}",
            undo=None,
        )
    return page(request, "failure.html", status=status, title=title, text=text)


def _words(status: int, error: Exception) -> tuple[str, str]:
    match error:
        case NotFound():
            return _("Não encontramos isto."), _(
                "O endereço pode estar errado, ou o item não é da organização escolhida."
            )
        case NotForYou():
            return _("Você não pode fazer isto."), str(error)
        case Forbidden():
            return _("Você não pode fazer isto."), _(
                "Seu papel nesta organização não permite. Peça a quem a administra."
            )
        case Refused():
            return _("Não foi possível."), said(error)
    if status == 404:
        return _("Não encontramos isto."), _("Confira o endereço ou volte ao início.")
    if status == 413:
        return _("O envio é grande demais."), _("Diminua o que está enviando e tente de novo.")
    if status == 503:
        return _("O banco de dados não responde agora."), _(
            "Nada se perdeu. Tente de novo em alguns segundos."
        )
    if status < 500:
        return _("Não entendemos este pedido."), _("Volte à página anterior e tente de novo.")
    return _("Algo falhou do nosso lado."), _(
        "O erro foi registrado. Tente de novo; se continuar, avise quem opera a instalação."
    )
