"""A server and a browser for all tests of the page."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from clients.languages.language import ROOT
from clients.web.page import LeydenPage, chromium, leyden_page
from clients.web.page_server import PageServer, page_server
from playwright.sync_api import Browser, sync_playwright

Open = Callable[..., LeydenPage]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    with page_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium: Debian's package of that name brings it")
    with sync_playwright() as playwright, chromium(playwright, program) as running:
        yield running


@pytest.fixture
def open_page(server: PageServer, browser: Browser) -> Iterator[Open]:
    """Return what opens the page; options are those of a window of Playwright's."""
    with ExitStack() as stack:

        def opened(url: str = server.url, **options: Any) -> LeydenPage:
            page = leyden_page(browser, url, server.key, **options)
            return stack.enter_context(page)

        yield opened


@pytest.fixture
def page(open_page: Open) -> LeydenPage:
    return open_page()


@pytest.fixture(scope="session")
def axe() -> str:
    """Return axe-core's source."""
    file: Path = ROOT / "client/web/node_modules/axe-core/axe.min.js"
    if not file.exists():
        pytest.skip("axe-core is not here: npm ci in client/web brings it")
    return file.read_text("utf-8")
