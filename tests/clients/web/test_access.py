"""For everybody: assistive technology, the keyboard alone, small screens, little motion."""

from typing import Any

import pytest
from clients.web.conftest import Open
from clients.web.page import PATIENCE_MS, LeydenPage
from clients.web.page_server import BASE, LIGHTNING
from playwright.sync_api import expect

PROMPT = "a mountain over a lake at dawn"


def violations(page: LeydenPage) -> list[str]:
    """Return what axe-core finds, rule and place."""
    found: dict[str, Any] = page.tab.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert len(found["passes"]) > 10
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def is_narrow(page: LeydenPage) -> bool:
    """Tell whether nothing reaches beyond the window's width."""
    narrow: bool = page.tab.evaluate(
        "document.documentElement.scrollWidth <= window.innerWidth && window.scrollX === 0"
    )
    return narrow


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_axe_finds_nothing_and_nothing_is_too_wide(
    open_page: Open, axe: str, colours: str, width: int
) -> None:
    page = open_page(
        scripts=(axe,),
        color_scheme=colours,
        viewport={"width": width, "height": 720},
        reduced_motion="reduce",
    )

    def look() -> None:
        assert violations(page) == []
        assert is_narrow(page)

    look()
    page.fill(f"{PROMPT} " + "snow " * 80, model=BASE, num_inference_steps="30", image_count="2")
    expect(page.tab.locator("#prompt-overlong")).to_be_visible()
    page.generate()
    page.stepped()
    look()
    page.tab.get_by_role("button", name="Cancel").click()
    look()
    page.fill(PROMPT, model=LIGHTNING)
    page.generate()
    page.done()
    expect(page.tab.locator(".entry")).to_have_count(1)
    look()
    page.tab.get_by_role("button", name="Image 1: show it large").click()
    look()
    page.tab.keyboard.press("Escape")
    page.tab.get_by_role("button", name="API key").click()
    look()
    page.tab.keyboard.press("Escape")
    page.fill("", seed="lake", image_count="99")
    page.tab.get_by_role("button", name="Generate").click()
    look()
    page.fill("", seed="1")
    page.tab.get_by_role("button", name="Generate").click()
    expect(page.tab.locator("#prompt")).to_have_attribute(
        "aria-invalid", "true", timeout=PATIENCE_MS
    )
    look()


def test_the_keyboard_alone_suffices(page: LeydenPage) -> None:
    keyboard = page.tab.keyboard

    def tab_to(name: str) -> None:
        """Go on until the control of this name has the focus."""
        for _ in range(60):
            keyboard.press("Tab")
            focused = page.tab.evaluate(
                "(document.activeElement.labels?.[0]?.textContent "
                "?? document.activeElement.getAttribute('aria-label') "
                "?? document.activeElement.textContent).trim()"
            )
            if focused == name:
                return
        raise AssertionError(f"{name} cannot be reached")

    tab_to("Prompt")
    keyboard.type(PROMPT)
    tab_to("Model")
    keyboard.type(BASE)
    tab_to("Steps, as a number")
    keyboard.press("Control+A")
    keyboard.type("100")
    tab_to("Generate")
    keyboard.press("Enter")
    page.stepped()
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(page.grid).to_have_attribute("data-phase", "cancelled")
    expect(page.tab.get_by_role("button", name="Cancel")).to_be_focused()

    page.tab.reload()
    page.ready()
    tab_to("Prompt")
    keyboard.press("Control+A")
    keyboard.type("a lake")
    tab_to("Model")
    keyboard.type(LIGHTNING)
    keyboard.press("Control+Home")
    page.tab.locator("#prompt").focus()
    keyboard.press("Control+Enter")
    page.done()
    tab_to("Image 1: show it large")
    keyboard.press("Enter")
    expect(page.tab.get_by_role("dialog")).to_be_visible()
    keyboard.press("Escape")
    expect(page.tab.get_by_role("dialog")).to_have_count(0)
    expect(page.tab.get_by_role("button", name="Image 1: show it large")).to_be_focused()
    tab_to("Run again: a lake")
    keyboard.press("Enter")
    page.done()
    expect(page.tab.locator(".entry")).to_have_count(2, timeout=PATIENCE_MS)


def test_screen_readers_hear_how_it_goes(page: LeydenPage) -> None:
    heard = page.tab.get_by_role("status").and_(page.tab.locator("[data-announcer]"))
    expect(heard).to_have_attribute("aria-live", "polite")
    page.fill(PROMPT, model=BASE, num_inference_steps="40")
    page.generate()
    expect(heard).to_contain_text("Step", timeout=PATIENCE_MS)
    expect(page.tab.get_by_role("progressbar", name="Denoise steps")).to_be_visible()
    page.done()
    expect(heard).to_have_text("The image is ready")


def test_colours_can_be_chosen(page: LeydenPage) -> None:
    def background() -> str:
        colour: str = page.tab.evaluate(
            "getComputedStyle(document.documentElement).backgroundColor"
        )
        return colour

    seen = set()
    for theme in ("auto", "light", "dark"):
        page.tab.get_by_role("button", name=f"Colours: {theme}").click()
        seen.add(background())
    assert len(seen) == 2
