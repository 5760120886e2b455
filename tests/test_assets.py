"""What the pages load: every class has its rule, and the lock installs anywhere, from any registry."""

import gzip
import json
import re
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont

import whatrack

ROOT = Path(whatrack.__file__).parents[2]
WEB = ROOT / "src/whatrack/web"
STATIC = WEB / "static"
DIST = STATIC / "dist"
LOCKS = [ROOT / "frontend/package-lock.json", ROOT / "tests/chromium/package-lock.json"]
# Tailwind's compiler is native code: a lock written on one platform may leave the others out.
PLATFORMS = {
    "android-arm64", "darwin-arm64", "darwin-x64", "freebsd-x64", "linux-arm-gnueabihf", "linux-arm64-gnu",
    "linux-arm64-musl", "linux-x64-gnu", "linux-x64-musl", "wasm32-wasi", "win32-arm64-msvc", "win32-x64-msvc",
}  # fmt: skip
COMPUTED = "\0"


def ruled_classes(css: str) -> set[str]:
    """Every class that a selector of the built style sheet names."""
    return {re.sub(r"\\(.)", r"\1", name) for name in re.findall(r"\.((?:\\.|[\w-])+)", css)}


def used_classes(template: str) -> set[str]:
    """Every class that a template writes out; one that is put together from values counts only when it is rendered."""
    text = re.sub(r"\{#.*?#\}", "", template, flags=re.DOTALL)
    text = re.sub(r"\{\{.*?\}\}", COMPUTED, text, flags=re.DOTALL)
    text = re.sub(r"\{%.*?%\}", " ", text, flags=re.DOTALL)
    names = {name for value in re.findall(r'\bclass="([^"]*)"', text) for name in value.split()}
    return {name for name in names if COMPUTED not in name}


def test_every_class_of_the_templates_has_a_rule():
    ruled = ruled_classes((WEB / "static/dist/css/app.css").read_text(encoding="utf-8"))
    templates = {
        str(path.relative_to(WEB)): path.read_text(encoding="utf-8")
        for path in WEB.rglob("templates/**/*.html")
    }
    missing = {name: used_classes(text) - ruled for name, text in templates.items()}

    assert {name: classes for name, classes in missing.items() if classes} == {}


@pytest.mark.parametrize(
    ("template", "classes"),
    [
        ('<p class="muted {% if x %}num{% endif %}">', {"muted", "num"}),
        ('<p class="tag-dot tone-{{ color }}">', {"tag-dot"}),
        ('<p class="{{ kind }} row">{# class="no" #}', {"row"}),
        ('<p class="max-sm:sr-only">', {"max-sm:sr-only"}),
    ],
)
def test_classes_are_found_in_a_template(template: str, classes: set[str]):
    assert used_classes(template) == classes


def test_classes_are_found_in_a_style_sheet():
    css = r".a,.b:hover>.c-d{x:y}@media (x){.max-sm\:sr-only{z:.5rem}}.w-1\.5{w:0}"

    assert {"a", "b", "c-d", "max-sm:sr-only", "w-1.5"} <= ruled_classes(css)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_the_lock_names_no_registry_and_pins_every_package(lock: Path):
    packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    third_party = {name: each for name, each in packages.items() if name and not each.get("inBundle")}

    assert third_party
    assert [name for name, each in packages.items() if "resolved" in each] == []
    assert [name for name, each in third_party.items() if "integrity" not in each] == []


def test_the_lock_has_the_style_compiler_for_every_platform():
    packages = json.loads(LOCKS[0].read_text(encoding="utf-8"))["packages"]
    prefix = "node_modules/@tailwindcss/oxide-"

    named = {name.removeprefix(prefix).partition("/")[0] for name in packages if name.startswith(prefix)}
    assert named == PLATFORMS


def test_every_icon_that_a_template_names_is_built():
    built = set(
        re.findall(r'<symbol id="([^"]+)"', (WEB / "static/dist/icons.svg").read_text(encoding="utf-8"))
    )
    named = {
        name
        for path in WEB.rglob("templates/**/*.html")
        for name in re.findall(
            r"""\b(?:icon\(|link\("[^"]*", )['"]([\w-]+)['"]""", path.read_text(encoding="utf-8")
        )
    }

    assert named - built == set()


def test_the_fonts_hold_every_letter_of_the_pages_texts_and_of_brazilian_names():
    fonts = [
        set(TTFont(DIST / "fonts" / f"inter-{part}.woff2").getBestCmap()) for part in ("latin", "latin-ext")
    ]
    catalogue = (WEB / "locale/en/LC_MESSAGES/messages.po").read_text(encoding="utf-8")

    assert {char for char in catalogue if ord(char) not in fonts[0]} == {
        "\n",
        "→",
    }  # Inter's package has no arrow
    assert {char for char in "ŁukaszİŞĞčőț" if ord(char) not in fonts[0] | fonts[1]} == set()


def test_what_a_page_loads_at_first_leaves_a_quarter_of_the_limit_to_the_page():
    files = [
        DIST / "css/app.css",
        DIST / "icons.svg",
        DIST / "js/htmx.min.js",
        STATIC / "js/app.js",
        STATIC / "icon.svg",
    ]
    packed = sum(len(gzip.compress(path.read_bytes(), 5)) for path in files)
    fonts = sum(path.stat().st_size for path in (DIST / "fonts").iterdir())

    assert packed + fonts < 75_000
