"""History, and images that are given back to the page."""

import io
from pathlib import Path

import numpy as np
import pytest
from clients.web.page import LeydenPage
from clients.web.page_server import LIGHTNING, PageServer
from clients.web.test_generating import PROMPT, rgb
from PIL import Image
from playwright.sync_api import expect

from leyden_client import OutputFormat, Solver


def test_history_outlives_a_reload_and_runs_again(page: LeydenPage) -> None:
    page.fill(PROMPT, model=LIGHTNING)
    first = page.generate()
    page.done()
    pixels = page.pixels()
    expect(page.tab.locator(".entry")).to_have_count(1)
    page.tab.reload()
    page.ready()
    expect(page.grid).to_have_count(0)
    page.tab.locator(".entry-open").click()
    page.done()
    assert page.pixels() == pixels

    page.tab.get_by_role("button", name=f"Run again: {PROMPT}").click()
    again = page.running()
    page.done()
    assert again != first
    assert page.pixels() == pixels
    expect(page.tab.locator(".entry")).to_have_count(2)

    page.tab.get_by_role("button", name="Clear", exact=True).click()
    page.tab.get_by_role("dialog").get_by_role("button", name="Clear", exact=True).click()
    expect(page.tab.locator(".entry")).to_have_count(0)


@pytest.mark.parametrize("output_format", list(OutputFormat)[1:])
def test_an_image_brings_its_parameters_back(
    page: LeydenPage, server: PageServer, tmp_path: Path, output_format: OutputFormat
) -> None:
    prompt = "a café by the lake, 灯 and snow"
    with server.client() as client:
        made = client.generate_image(
            prompt,
            model="leyden-tiny-base",
            negative_prompt="storm",
            seed=9007199254740990,
            width_px=256,
            height_px=192,
            num_inference_steps=3,
            guidance_scale=3.5,
            solver=Solver.DPMPP_2M,
            output_format=output_format,
        )
    file = tmp_path / "image"
    file.write_bytes(made.images[0].data)
    page.tab.locator("input[type=file]").set_input_files(file)
    expect(page.tab.get_by_label("Prompt", exact=True)).to_have_value(prompt)
    expect(page.tab.get_by_label("Negative prompt")).to_have_value("storm")
    expect(page.tab.locator("#seed")).to_have_value("9007199254740990")
    page.tab.get_by_role("button", name="Generate").click()
    page.done()
    if output_format is OutputFormat.PNG:
        pixels = np.asarray(Image.open(io.BytesIO(made.images[0].data)))
        np.testing.assert_array_equal(rgb(*page.pixels()), pixels)
    with page.tab.expect_download() as download:
        page.tab.get_by_role("link", name="Image 1: download").click()
    assert download.value.path().read_bytes() == made.images[0].data


def test_an_image_is_taken_where_it_is_dropped(page: LeydenPage, server: PageServer) -> None:
    with server.client() as client:
        made = client.generate_image(PROMPT, model=LIGHTNING, seed=77)
    page.tab.evaluate(
        """(bytes) => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(bytes)], "lake.png"));
            window.dispatchEvent(new DragEvent("dragover", { dataTransfer: files }));
            window.dispatchEvent(new DragEvent("drop", { dataTransfer: files }));
        }""",
        list(made.images[0].data),
    )
    expect(page.tab.locator("#seed")).to_have_value("77")
    expect(page.tab.get_by_text("The parameters of lake.png are in the form.")).to_be_visible()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"no image at all", "not a PNG, JPEG or WebP"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00", "damaged"),
    ],
)
def test_what_is_no_image_of_leydens_is_refused(
    page: LeydenPage, tmp_path: Path, data: bytes, text: str
) -> None:
    (tmp_path / "file").write_bytes(data)
    page.tab.locator("input[type=file]").set_input_files(tmp_path / "file")
    expect(page.tab.get_by_role("alert")).to_contain_text(text)


def test_an_image_of_another_tool_is_refused(page: LeydenPage, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.webp"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
        page.tab.locator("input[type=file]").set_input_files(tmp_path / name)
        expect(page.tab.get_by_role("alert")).to_contain_text("does not say what made it")
        page.tab.get_by_role("button", name="Close").click()
