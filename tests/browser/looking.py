"""
What is looked for on every page: that everybody can use it, on a screen of any size, in light and in the dark.

axe-core (Deque's, the engine of most such checks) finds what can be found by a program; of that, whatever it calls
serious or critical is a fault. What it cannot judge is judged by looking: QUAY_TEST_SCREENSHOTS names a directory for
pictures of every page, on a desk and on a telephone, in light and in the dark.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from tests.browser.visitor import DESKTOP, PHONE, Visitor

AXE = "4.14.1"
CACHE = Path(__file__).parents[2] / ".cache" / f"axe-core-{AXE}"
GRAVE = ("serious", "critical")


class AxeMissing(Exception):
    """axe-core is neither in the cache nor to be had."""


def axe_core() -> str:
    """The source of axe-core, fetched once into the cache. Raises `AxeMissing`."""
    file = CACHE / "node_modules" / "axe-core" / "axe.min.js"
    if not file.exists():
        _install()
    return file.read_text(encoding="utf-8")


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise AxeMissing("axe-core is not in .cache, and npm is not installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(CACHE), "--no-save", "--no-audit", "--no-fund", f"axe-core@{AXE}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise AxeMissing(f"npm did not fetch axe-core: {done.stderr.strip()[-500:]}")


# --- what is looked for


def faults(visitor: Visitor, axe: str, name: str) -> list[str]:
    """
    What is wrong with the page before the visitor's eyes, which goes by `name` in pictures. He looks at it on a desk
    and on a telephone, in light and in the dark, and is left as he came.
    """
    page = visitor.page
    page.evaluate(axe)
    found = _violations(visitor, {})
    directory = os.environ.get("QUAY_TEST_SCREENSHOTS")
    if directory:
        _take_pictures(visitor, Path(directory), name)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)
    found += _violations(visitor, {"runOnly": {"type": "rule", "values": ["color-contrast", "target-size"]}})
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        found.append(f"on a telephone it is wider than the screen: {page.evaluate(_WIDEST)}")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP)
    return found


def _violations(visitor: Visitor, options: Mapping[str, Any]) -> list[str]:
    thrifty = {"resultTypes": ["violations"], "preload": False}  # no rule that runs looks into style sheets or media
    violations = visitor.page.evaluate(_RUN, [thrifty | dict(options), list(GRAVE)])
    return [
        f"{violation['id']} ({violation['help']}): {node['html'][:200]} {node['failureSummary'][-200:]}"
        for violation in violations
        for node in violation["nodes"][:3]
    ]


_RUN = """
async ([options, grave]) => (await axe.run(document, options)).violations.filter((one) => grave.includes(one.impact))
"""


_WIDEST = """
[...document.querySelectorAll("main *, header *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
  .slice(0, 3).map(e => e.outerHTML.slice(0, 120)).join(" | ")
"""


def _take_pictures(visitor: Visitor, directory: Path, name: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for theme, (device, size) in product(("light", "dark"), (("desktop", DESKTOP), ("phone", PHONE))):
        visitor.page.emulate_media(color_scheme=theme)
        visitor.page.set_viewport_size(size)
        visitor.page.screenshot(path=directory / f"{name}-{device}-{theme}.png", full_page=True)
