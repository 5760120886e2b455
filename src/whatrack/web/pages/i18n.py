"""The language of an answer: Portuguese as written in the code, English from its catalogue; and the zone of its times.

Both are set once a request and read wherever words, numbers or times are written.
"""

from contextvars import ContextVar
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from fastapi import Request

LANGUAGES = {"pt_BR": "Português", "en": "English"}
CATALOGUES = Path(__file__).parents[1] / "locale"
COOKIE = "language"
DEFAULT = "pt_BR"

language: ContextVar[str] = ContextVar("language", default=DEFAULT)
_zone: ContextVar[str] = ContextVar("zone", default="America/Sao_Paulo")


def zone() -> ZoneInfo:
    """The zone of the organization on screen."""
    return ZoneInfo(_zone.get())


def set_zone(name: str) -> None:
    """Write times in this zone from now on in this request."""
    _zone.set(name)


def _catalogue(name: str) -> NullTranslations:
    """A catalogue, compiled as it is loaded: no file to forget to build."""
    path = CATALOGUES / name / "LC_MESSAGES" / "messages.po"
    compiled = BytesIO()
    with path.open("rb") as source:
        write_mo(compiled, read_po(source, locale=name))
    compiled.seek(0)
    return Translations(compiled)


_catalogues: dict[str, NullTranslations] = {DEFAULT: NullTranslations(), "en": _catalogue("en")}


def gettext_callable(text: str) -> str:
    """As Jinja calls it: newstyle gettext fills the values in itself."""
    return _catalogues[language.get()].ugettext(text)


def _(text: str, **values: object) -> str:
    """The text in the reader's language, with %(name)s filled in."""
    found = _catalogues[language.get()].ugettext(text)
    return found % values if values else found


def ngettext(one: str, many: str, count: int, **values: object) -> str:
    """The singular or plural in the reader's language, with %(num)s and others filled in."""
    return _catalogues[language.get()].ungettext(one, many, count) % {"num": count, **values}


def ngettext_callable(one: str, many: str, count: int) -> str:
    """As Jinja calls it: newstyle gettext fills the values in itself."""
    return _catalogues[language.get()].ungettext(one, many, count)


def marked(text: str) -> str:
    """A text to be translated later, where it is shown: the extractor finds it here."""
    return text


def chosen(request: Request) -> str | None:
    """The language that was chosen in this browser, if one was."""
    found = request.cookies.get(COOKIE, "")
    return found if found in LANGUAGES else None


def of_request(request: Request) -> str:
    """The cookie's choice, else the browser's best, else Portuguese."""
    if found := chosen(request):
        return found
    wanted = [tag.replace("-", "_") for tag in _by_preference(request.headers.get("accept-language", ""))]
    for tag in wanted:
        found = negotiate_locale([tag], ["pt_BR", "en"]) or {"pt": "pt_BR", "en": "en"}.get(tag[:2])
        if found:
            return str(found)
    return DEFAULT


def _by_preference(header: str) -> list[str]:
    """The tags of an Accept-Language, most wanted first; at most ten, for anybody may send any."""
    found = []
    for place, part in enumerate(header.split(",")[:10]):
        tag, _semicolon, weight = (each.strip() for each in part.partition(";"))
        try:
            wanted = float(weight.removeprefix("q=") or 1)
        except ValueError:
            wanted = 0.0
        if tag:
            found.append((-wanted, place, tag))
    return [tag for _wanted, _place, tag in sorted(found)]
