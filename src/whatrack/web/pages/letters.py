"""The mails that the site sends, in the language of whom they go to."""

from collections.abc import Iterator
from contextlib import contextmanager

from whatrack.tenants.emails import Letter
from whatrack.web.pages import i18n
from whatrack.web.pages.i18n import _


def reset(to: str, language: str | None, link: str) -> Letter:
    """How to choose another password."""
    with written_in(language):
        text = _(
            "Olá,\n\n"
            "alguém pediu uma nova senha para a sua conta no WhaTrack. Se foi você, abra este endereço em até uma hora:\n\n"
            "%(link)s\n\n"
            "Se não foi você, não faça nada: a sua senha continua a mesma.\n",
            link=link,
        )
        return Letter(to, _("Nova senha no WhaTrack"), text)


def invitation(to: str, language: str | None, link: str, *, organization: str, inviter: str) -> Letter:
    """How to join an organization."""
    with written_in(language):
        text = _(
            "Olá,\n\n"
            "%(inviter)s convidou você para %(organization)s no WhaTrack. O convite vale por sete dias:\n\n"
            "%(link)s\n\n"
            "Se você não esperava este convite, não faça nada.\n",
            link=link,
            organization=organization,
            inviter=inviter,
        )
        subject = _("Convite para %(organization)s no WhaTrack", organization=organization)
        return Letter(to, subject, text)


@contextmanager
def written_in(language: str | None) -> Iterator[None]:
    """Words in another language than the request's; None: the request's."""
    before = i18n.language.set(language or i18n.language.get())
    try:
        yield
    finally:
        i18n.language.reset(before)
