"""From a prompt to pictures, and all that may come between."""

import io
import re
from pathlib import Path

import numpy as np
from clients.web.conftest import Open
from clients.web.page import PATIENCE_MS, LeydenPage
from clients.web.page_server import BASE, LIGHTNING, PageServer
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import expect
from support.breaking_proxy import TcpProxy

from leyden_client._image_file import read_image_file

PROMPT = "a mountain over a lake at dawn"

# Notes how soft each preview was shown.
WATCH_BLUR = """
window.softness = [];
new MutationObserver(() => {
  const image = document.querySelector(".frame img.soft");
  const blur = image && /blur\\((\\d+)px\\)/.exec(image.style.filter);
  if (blur && window.softness.at(-1) !== Number(blur[1])) window.softness.push(Number(blur[1]));
}).observe(document, { subtree: true, childList: true, attributes: true });
"""


def rgb(width: int, height: int, data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(height, width, 4)[..., :3]


def test_a_picture_appears_and_its_pixels_are_the_apis(
    page: LeydenPage, server: PageServer, tmp_path: Path
) -> None:
    page.fill(PROMPT, model=LIGHTNING, seed="9007199254740990")
    page.generate()
    page.done()
    with server.client() as client:
        wanted = client.generate_image(PROMPT, model=LIGHTNING, seed=9007199254740990)
    pixels = np.asarray(Image.open(io.BytesIO(wanted.images[0].data)))
    assert pixels.std() > 10
    np.testing.assert_array_equal(rgb(*page.pixels()), pixels)

    with page.tab.expect_download() as download:
        page.tab.get_by_role("link", name="Image 1: download").click()
    assert download.value.suggested_filename == f"{LIGHTNING}-9007199254740990.png"
    file = tmp_path / "image.png"
    download.value.save_as(file)
    assert file.read_bytes() == wanted.images[0].data
    assert read_image_file(file).parameters["seed"] == 9007199254740990


def test_previews_sharpen_step_by_step(open_page: Open) -> None:
    page = open_page(scripts=(WATCH_BLUR,))
    page.fill(PROMPT, model=BASE, num_inference_steps="12")
    page.generate()
    page.done()
    softness = page.tab.evaluate("softness")
    assert softness == sorted(softness, reverse=True)
    assert len(softness) >= 4


def test_variants_fill_a_grid_and_each_can_be_made_alone(
    page: LeydenPage, server: PageServer
) -> None:
    page.fill(PROMPT, model=LIGHTNING, image_count="3", seed="70")
    page.generate()
    page.done()
    expect(page.images).to_have_count(3)
    with server.client() as client:
        alone = client.generate_image(PROMPT, model=LIGHTNING, seed=72)
    pixels = np.asarray(Image.open(io.BytesIO(alone.images[0].data)))
    # Not to the bit: rows that are stepped together are summed in another order.
    assert np.abs(rgb(*page.pixels(2)).astype(int) - pixels).max() <= 1

    page.tab.get_by_role("button", name="Image 3: use its seed").click()
    expect(page.tab.locator("#seed")).to_have_value("72")


def test_cancel_frees_the_rows(page: LeydenPage, server: PageServer) -> None:
    page.fill(PROMPT, model=BASE, num_inference_steps="100", image_count="2")
    name = page.generate()
    page.stepped()
    page.tab.get_by_role("button", name="Cancel").click()
    expect(page.grid).to_have_attribute("data-phase", "cancelled")
    end = server.server.ended(name)
    assert (end["code"], end["reason"]) == ("CANCELLED", "CANCELLED_BY_REQUEST")
    # Two images of 100 steps of two rows; the end need not wait for the linger of 15 s.
    assert 0 < end["unet_rows"] < 400
    assert page.tab.evaluate("sessionStorage.getItem('leyden.running')") is None


def test_another_generation_ends_the_one_that_runs(page: LeydenPage, server: PageServer) -> None:
    page.fill(PROMPT, model=BASE, num_inference_steps="100")
    first = page.generate()
    page.stepped()
    page.fill(PROMPT, model=LIGHTNING)
    second = page.generate()
    page.done()
    assert second != first
    assert server.server.ended(first)["reason"] == "CANCELLED_BY_REQUEST"


def test_a_reload_takes_the_generation_up_again(page: LeydenPage, server: PageServer) -> None:
    page.fill(PROMPT, model=BASE, num_inference_steps="40", seed="5")
    name = page.generate()
    page.stepped()
    page.tab.reload()
    assert page.running() == name
    page.ready()
    page.done()
    assert server.server.ended(name)["code"] == "OK"
    assert page.tab.get_by_label("Prompt", exact=True).input_value() == PROMPT
    with server.client() as client:
        wanted = client.generate_image(PROMPT, model=BASE, num_inference_steps=40, seed=5)
    pixels = np.asarray(Image.open(io.BytesIO(wanted.images[0].data)))
    assert np.abs(rgb(*page.pixels()).astype(int) - pixels).max() <= 1


def test_a_broken_connection_is_taken_up_again(open_page: Open, server: PageServer) -> None:
    with TcpProxy(server.url.removeprefix("http://").rstrip("/")) as proxy:
        page = open_page(url=f"http://{proxy.target}/")
        page.fill(PROMPT, model=BASE, num_inference_steps="40")
        name = page.generate()
        page.stepped()
        with page.tab.expect_request("**/WatchGeneration", timeout=PATIENCE_MS):
            proxy.cut()
        page.done()
    assert server.server.ended(name)["code"] == "OK"


def test_who_waits_is_told_the_place_in_the_line(page: LeydenPage, server: PageServer) -> None:
    page.fill(PROMPT, model=BASE, num_inference_steps="5")
    with server.client() as client:
        ahead = client.start_image(PROMPT, model=BASE, num_inference_steps=100, image_count=3)
        page.generate()
        expect(page.tab.locator(".standing")).to_contain_text("before yours", timeout=PATIENCE_MS)
        expect(page.tab.locator("[data-announcer]")).to_contain_text("before yours")
        client.cancel(ahead)
    page.done()


def test_what_is_wrong_is_said_at_its_field(page: LeydenPage) -> None:
    page.fill(PROMPT, model=LIGHTNING)
    page.tab.get_by_label("Size").select_option("other")
    page.tab.get_by_label("Width").fill("100")
    page.tab.get_by_role("button", name="Generate").click()
    width = page.tab.get_by_label("Width")
    expect(width).to_have_attribute("aria-invalid", "true", timeout=PATIENCE_MS)
    expect(width).to_be_focused()
    expect(width).to_have_accessible_description(re.compile(r"A multiple of 8 from 64 .* got 100"))
    width.fill("128")
    expect(width).not_to_have_attribute("aria-invalid", "true")
    page.tab.get_by_role("button", name="Generate").click()
    page.done()


def test_a_seed_that_is_none_is_not_sent(page: LeydenPage) -> None:
    seed = page.tab.locator("#seed")
    for typed in ("-1", "9007199254740992", "1.5", "lake"):
        page.fill(PROMPT, seed=typed)
        expect(seed).not_to_have_attribute("aria-invalid", "true")
        page.tab.get_by_role("button", name="Generate").click()
        expect(seed).to_have_attribute("aria-invalid", "true")
        expect(seed).to_be_focused()
        expect(page.grid).to_have_count(0)


def test_without_a_key_it_is_asked_for(page: LeydenPage, server: PageServer) -> None:
    page.tab.get_by_role("button", name="API key").click()
    page.tab.get_by_role("button", name="Forget it").click()
    dialog = page.tab.get_by_role("dialog", name="API key")
    expect(dialog).to_contain_text("key", timeout=PATIENCE_MS)
    page.tab.get_by_label("Keep it until this tab is closed").uncheck()
    dialog.get_by_label("Key", exact=True).fill(server.key)
    page.tab.get_by_role("button", name="Use this key").click()
    expect(dialog).to_have_count(0)
    page.ready()
    assert page.tab.evaluate("sessionStorage.getItem('leyden.key')") is None
    assert server.key not in page.tab.url
    page.fill(PROMPT, model=LIGHTNING)
    page.generate()
    page.done()
