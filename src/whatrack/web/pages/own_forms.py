"""Every form that posts says which organization its page is of, for another tab may have chosen another since.

Templates need not think of it: the field is put into each form as the template is read, and into none of a page
that no member sees.
"""

import re
from contextvars import ContextVar
from functools import lru_cache

from jinja2.ext import Extension
from markupsafe import Markup
from typing_extensions import override

FIELD = "page_organization"
POSTING = re.compile(r"""<form\b[^>]*\bmethod="post"[^>]*>""")

organization: ContextVar[str] = ContextVar("organization", default="")


def field() -> Markup:
    """The field, or nothing where no organization is on screen."""
    return _field(organization.get())


@lru_cache(64)  # a page may hold hundreds of forms
def _field(chosen: str) -> Markup:
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, chosen) if chosen else Markup()


class OwnForms(Extension):
    """The templates' forms, each with the field."""

    @override
    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """A template's text, the field behind each opening tag of a form that posts."""
        return POSTING.sub(lambda tag: f"{tag[0]}{{{{ organization_of_page() }}}}", source)
