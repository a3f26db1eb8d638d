"""The page as a person finds it: by labels, names and what is seen."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright, expect

__all__ = ["PATIENCE_MS", "LeydenPage", "chromium", "leyden_page"]

PATIENCE_MS = 120_000
"""For what comes; it only ends a hang."""

# Without them Chromium looks for hosts of its maker's, which a closed network refuses.
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


class LeydenPage:
    """The page in a tab."""

    def __init__(self, tab: Page) -> None:
        self.tab = tab

    def ready(self) -> None:
        """Wait until there is a model."""
        expect(self.tab.get_by_text("Ready", exact=True)).to_be_visible(timeout=PATIENCE_MS)

    def fill(self, prompt: str, **fields: str) -> None:
        """Fill in the form; fields by the API's names."""
        self.tab.get_by_label("Prompt", exact=True).fill(prompt)
        for name, value in fields.items():
            field = self.tab.locator(f"#{name}")
            if name == "model":
                field.select_option(value)
            elif name == "num_inference_steps":
                self.tab.get_by_label("Steps, as a number").fill(value)
            elif name == "output_format":
                self.tab.get_by_role("radio", name=value).check()
            else:
                field.fill(value)

    def generate(self) -> str:
        """Press the button; return the generation's name."""
        self.tab.get_by_role("button", name="Generate").click()
        return self.running()

    def running(self) -> str:
        """Return the name of the generation that runs."""
        saved = self.tab.evaluate("sessionStorage.getItem('leyden.running')")
        name: str = json.loads(saved)["requestId"]
        return name

    def done(self) -> None:
        """Wait until the generation has ended well."""
        expect(self.grid).to_have_attribute("data-phase", "done", timeout=PATIENCE_MS)

    def stepped(self) -> None:
        """Wait until there is a preview."""
        expect(self.previews.first).to_be_visible(timeout=PATIENCE_MS)

    @property
    def grid(self) -> Locator:
        """The images."""
        return self.tab.locator(".grid")

    @property
    def previews(self) -> Locator:
        """What images will roughly look like."""
        return self.tab.locator(".frame img.soft")

    @property
    def images(self) -> Locator:
        """The images that are done."""
        return self.tab.locator(".frame img.sharp")

    def pixels(self, index: int = 0) -> tuple[int, int, bytes]:
        """Return width, height and RGBA of an image as the browser has decoded it."""
        width, height, data = self.images.nth(index).evaluate(
            """async (image) => {
                await image.decode();
                const canvas = document.createElement("canvas");
                canvas.width = image.naturalWidth;
                canvas.height = image.naturalHeight;
                const context = canvas.getContext("2d", { colorSpace: "srgb" });
                context.drawImage(image, 0, 0);
                const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
                return [canvas.width, canvas.height, Array.from(data)];
            }"""
        )
        return width, height, bytes(data)

    def tokens(self, prompt: str) -> int:
        """Return what the meter says of a prompt."""
        self.tab.get_by_label("Prompt", exact=True).fill(prompt)
        meter = self.tab.locator("[data-field=prompt] .tokens")
        count: str | None = meter.get_attribute("data-tokens", timeout=PATIENCE_MS)
        assert count is not None
        return int(count)


@contextmanager
def chromium(playwright: Playwright, program: str) -> Iterator[Browser]:
    """Run Debian's Chromium, or whatever `program` is."""
    # Its sandbox needs rights that root's containers have not.
    browser = playwright.chromium.launch(
        executable_path=program, args=list(QUIET), chromium_sandbox=False
    )
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def leyden_page(
    browser: Browser, url: str, key: str, *, scripts: tuple[str, ...] = (), **options: Any
) -> Iterator[LeydenPage]:
    """Open the page as one who has the key, in a window of its own.

    Whatever it asks of another host, and whatever its Content-Security-Policy forbids, is an
    AssertionError at the end.
    """
    context: BrowserContext = browser.new_context(**options)
    asked: list[str] = []
    said: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda message: said.append(message.text))
    context.on("weberror", lambda error: said.append(f"error: {error.error}"))
    # Not of the empty page that a tab begins with, which has no storage.
    context.add_init_script(
        f"if (origin !== 'null') sessionStorage.setItem('leyden.key', {json.dumps(key)});"
    )
    for script in scripts:
        context.add_init_script(script)
    try:
        page = LeydenPage(context.new_page())
        page.tab.goto(url)
        page.ready()
        yield page
    finally:
        context.close()
    strangers = [one for one in asked if not one.startswith((url, "blob:", "data:"))]
    assert not strangers, strangers
    assert asked, "nothing was seen"
    broken = [one for one in said if "Content Security Policy" in one or one.startswith("error:")]
    assert not broken, broken
