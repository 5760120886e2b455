"""A form as it was sent: what was typed, kept; what is wrong, said beside its field."""

from collections.abc import Callable, Collection
from typing import TypeVar

from fastapi import Request
from starlette.datastructures import FormData

from whatrack.errors import Refused
from whatrack.web.pages.i18n import _
from whatrack.web.pages.words import said

T = TypeVar("T")
UNWRITABLE = "\0"
MOST_BYTES = 500_000  # of one field
PASSWORDS = ("password", "again", "current", "code", "token", "access_token")  # never sent back


class Form:
    """The values of one form and the messages about them. Reading a field checks it; `ok` once all are read."""

    def __init__(self, sent: FormData | None = None, **start: object) -> None:
        given = {name: _written(value) for name, value in (sent or {}).items() if isinstance(value, str)}
        self._sent = given
        self.values: dict[str, str] = {name: str(value) for name, value in start.items() if value is not None}
        self.values |= {
            name: value.replace(UNWRITABLE, "") for name, value in given.items() if name not in PASSWORDS
        }
        self.errors: dict[str, str] = {}
        self.general: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing has been found wrong."""
        return not self.errors and self.general is None

    def wrong(self, name: str, message: str) -> None:
        """Say what is wrong with a field; the first thing said stays."""
        self.errors.setdefault(name, message)

    def refuse(self, error: Refused, names: Collection[str] = ()) -> None:
        """Take over what a rule refused: beside its field when the form has it, else above all."""
        if error.field and (not names or error.field in names):
            self.wrong(error.field, said(error))
        else:
            self.general = said(error)

    def text(self, name: str, *, required: bool = True, most: int = 200) -> str:
        """A line of text, trimmed."""
        value = self._sent.get(name, "").strip()
        if required and not value:
            self.wrong(name, _("Preencha este campo."))
        elif len(value) > most:
            self.wrong(name, _("Use no máximo %(most)s caracteres.", most=most))
        elif any(ord(char) < 32 and char not in "\r\n\t" for char in value):
            self.wrong(name, _("Há um caractere que não pode ser guardado. Apague e digite de novo."))
        return value

    def line(self, name: str, *, required: bool = True, most: int = 200) -> str:
        """A line of text that stays on one line, runs of spaces and breaks made one space."""
        return " ".join(self.text(name, required=required, most=most).split())

    def secret(self, name: str) -> str:
        """A password as typed: not trimmed, never sent back."""
        value = self._sent.get(name, "")
        if not value:
            self.wrong(name, _("Preencha este campo."))
        elif UNWRITABLE in value:
            self.wrong(name, _("Há um caractere que não pode ser guardado. Apague e digite de novo."))
        return value

    def choice(self, name: str, among: Collection[str], *, required: bool = True) -> str:
        """One of the offered values, or '' where none is needed."""
        value = self._sent.get(name, "")
        if value in among or (not value and not required):
            return value
        self.wrong(name, _("Escolha uma das opções."))
        return ""

    def whole(self, name: str, least: int, most: int) -> int:
        """A whole number between two bounds, both included."""
        value = self._sent.get(name, "").strip()
        if value.isascii() and value.isdigit() and len(value) <= 12 and least <= int(value) <= most:
            return int(value)
        self.wrong(name, _("Digite um número inteiro de %(least)s a %(most)s.", least=least, most=most))
        return least

    def checked(self, name: str) -> bool:
        """Whether a box was ticked."""
        return name in self._sent

    def parsed(self, name: str, parse: Callable[[str], T]) -> T | None:
        """A required line of text as `parse` reads it; None when it is refused."""
        value = self.text(name)
        if name in self.errors:
            return None
        try:
            return parse(value)
        except Refused as error:
            self.wrong(name, said(error))
            return None


def _written(value: str) -> str:
    """The text with what no database and no page can hold (half a surrogate pair) made one sign that is refused."""
    return "".join(UNWRITABLE if "\ud800" <= char <= "\udfff" else char for char in value)


async def sent_form(request: Request) -> Form:
    """The form in the request's body: at most 100 fields; a file in it is left to whoever asks for it."""
    return Form(await request.form(max_files=1, max_fields=100, max_part_size=MOST_BYTES))
