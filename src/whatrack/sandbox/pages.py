"""Renders the sandbox's few pages: plain forms, no script, one style sheet."""

from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

POLICY = {"Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"}  # fmt: skip
STYLE = files(__package__).joinpath("templates", "style.css").read_text(encoding="utf-8")
_pages = Environment(loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined)


def page(name: str, **values: Any) -> str:
    """A page's HTML."""
    return _pages.get_template(name).render(values)
