"""The pages' words: every text is found by the extractor and has its English, with the same values in it."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

import whatrack
from whatrack.web.pages.i18n import LANGUAGES, _, language, ngettext

ROOT = Path(whatrack.__file__).parents[2]
CATALOGUE = ROOT / "src/whatrack/web/locale/en/LC_MESSAGES/messages.po"


def texts_of_the_pages() -> Catalog:
    """What `make words` finds."""
    with (ROOT / "babel.cfg").open(encoding="utf-8") as mapping:
        methods, options = parse_mapping_cfg(mapping)
    keywords = {**DEFAULT_KEYWORDS, "marked": None}
    found = Catalog()
    options = {pattern.removeprefix("src/"): each for pattern, each in options.items()}
    extracted = extract_from_dir(
        ROOT / "src",
        [(p.removeprefix("src/"), m) for p, m in methods],
        options,
        keywords,
        directory_filter=lambda _path: True,  # Babel's own leaves out templates/_
    )
    for _file, _line, text, _comments, _context in extracted:
        found.add(text)
    return found


@pytest.fixture(scope="module")
def english() -> Catalog:
    with CATALOGUE.open("rb") as source:
        return read_po(source, locale="en")


def untranslated(message: Message | None) -> bool:
    if message is None:
        return True
    return not (all(message.string) if isinstance(message.string, tuple | list) else message.string)


def test_the_texts_of_pages_and_templates_are_found():
    found = texts_of_the_pages()

    assert "Preencha este campo." in found  # forms.py
    assert "Ir para o conteúdo" in found  # base.html
    assert "Mostrar o que digitei" in found  # _/forms.html
    assert "Diga quanto valeu a venda." in found  # marked in words.py


def test_every_text_has_its_english(english: Catalog):
    missing = [text.id for text in texts_of_the_pages() if text.id and untranslated(english.get(text.id))]

    assert missing == []


def test_a_percent_sign_stands_at_its_number_in_both_languages(english: Catalog):
    """As the figures beside it do, and so that no line breaks between them."""
    texts = [str(part) for message in english for part in (message.id, message.string)]

    assert [text for text in texts if re.search(r"\d\s+%%", text)] == []


def test_the_english_holds_the_same_values_as_the_portuguese(english: Catalog):
    wrong = [(text.id, [str(error) for error in errors]) for text, errors in english.check()]

    assert wrong == []


def placeholders(words: str | tuple[str, ...] | list[str]) -> list[list[str]]:
    """Of a text, or of each of its plural forms."""
    forms = [words] if isinstance(words, str) else words
    return [sorted(re.findall(r"%(?:\(\w+\))?.", form)) for form in forms]


def test_the_english_keeps_exactly_the_placeholders(english: Catalog):
    pairs = [(text.id, text.string) for text in english if text.id and text.string]

    assert [pair for pair in pairs if placeholders(pair[0]) != placeholders(pair[1])] == []


def test_no_translation_is_of_a_text_that_is_gone(english: Catalog):
    found = texts_of_the_pages()

    assert [text.id for text in english if text.id and text.id not in found] == []


@pytest.mark.parametrize("name", LANGUAGES)
def test_numbers_of_things_have_their_plural_in_every_language(name: str):
    token = language.set(name)
    try:
        one, many = (ngettext("%(num)s coisa", "%(num)s coisas", count) for count in (1, 5))
    finally:
        language.reset(token)

    assert (one, many) == ("1 coisa", "5 coisas")


def test_a_text_without_translation_stays_as_it_was_written():
    token = language.set("en")
    try:
        assert _("Isto ninguém traduziu %(n)s", n=3) == "Isto ninguém traduziu 3"
    finally:
        language.reset(token)
