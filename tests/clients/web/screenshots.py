"""Makes the pictures of the page that docs/web.md shows, from a real server.

PYTHONPATH=tests:server:client/python python tests/clients/web/screenshots.py
"""

import re
import shutil
import tempfile
from pathlib import Path

from clients.languages.language import ROOT
from clients.web.page import LeydenPage, chromium, leyden_page
from clients.web.page_server import BASE, PageServer, page_server
from playwright.sync_api import Browser, sync_playwright

IMAGES = ROOT / "docs" / "images"
PROMPT = "a mountain over a lake at dawn, snow, pine trees"


def main() -> None:
    """Make them all."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("there is no chromium")
    with (
        tempfile.TemporaryDirectory() as folder,
        page_server(Path(folder)) as server,
        sync_playwright() as playwright,
        chromium(playwright, program) as browser,
    ):
        _wide(browser, server, "light")
        _wide(browser, server, "dark")
        _phone(browser, server)


def _wide(browser: Browser, server: PageServer, colours: str) -> None:
    """A wide window: half-way in light colours, at the end in dark ones."""
    size = {"width": 1240, "height": 800}
    with leyden_page(browser, server.url, server.key, color_scheme=colours, viewport=size) as page:
        page.fill(PROMPT, model=BASE, num_inference_steps="30", image_count="3", seed="2026")
        page.generate()
        if colours == "light":
            page.stepped()
            half = re.compile(r"^[45]\d % of 3 images")
            page.tab.get_by_text(half).wait_for(timeout=600_000)
            _take(page, "page-running.png", from_top=True)
            page.tab.get_by_role("button", name="Cancel").click()
        else:
            page.done()
            page.tab.locator(".entry").wait_for()
            _take(page, "page-dark.png", from_top=True)


def _phone(browser: Browser, server: PageServer) -> None:
    size = {"width": 360, "height": 700}
    with leyden_page(browser, server.url, server.key, viewport=size) as page:
        page.fill(PROMPT, model=BASE, num_inference_steps="20", seed="2027")
        page.generate()
        page.done()
        page.tab.locator(".entry").wait_for()
        _take(page, "page-phone.png")


def _take(page: LeydenPage, name: str, *, from_top: bool = False) -> None:
    page.tab.mouse.move(0, 0)
    if from_top:
        page.tab.evaluate("scrollTo(0, 0)")
    page.tab.screenshot(path=IMAGES / name, animations="disabled")


if __name__ == "__main__":
    main()
