"""The meter counts as the model's own tokenizer does."""

from clients.web.page import LeydenPage
from clients.web.page_server import BASE, PageServer
from playwright.sync_api import expect
from transformers import CLIPTokenizer

from leyden_server.model_repository.repository import SHIPPED_MODELS

PROMPTS = (
    "",
    "a lake",
    "A  MOUNTAIN,\n over\ta lake!! at dawn...",
    "it's a painter's day; they'll sail, we've sailed, I'd sail, we're sailing, don't",
    "1216x832 px at 35mm, f/2.8, 8k 2026",
    "a café by the lake, 灯籠 and naïve Straße, ΟΔΟΣ ΣΟΦΟΣ",
    "cafe\u0301 \u00a0 \u2003 \ufeff \u0085 wide",
    "🏔️ over 🌊🌊 👩‍👩‍👧",
    "antidisestablishmentarianism supercalifragilisticexpialidocious",
    "a<|endoftext|>b <|startoftext|> <|EndOfText|>",
    "((masterpiece:1.3)), [soft], {light}, --ar 16:9 __x__ ~~~",
    "snow " * 90,
)


def test_the_meter_is_right(page: LeydenPage) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(SHIPPED_MODELS / BASE / "tokenizer")
    page.fill("", model=BASE)
    for prompt in PROMPTS:
        wanted = len(tokenizer(prompt).input_ids)
        assert page.tokens(prompt) == wanted, prompt


def test_the_meter_says_what_the_server_says(page: LeydenPage, server: PageServer) -> None:
    prompt = "a very long walk by the lake, " * 12
    with server.client() as client:
        made = client.generate_image(prompt, model=BASE, num_inference_steps=1)
    (warning,) = (one for one in made.summary.warnings if one.reason == "PROMPT_TRUNCATED")
    page.fill("", model=BASE)
    count = page.tokens(prompt)
    assert warning.message.startswith(f"{count} tokens")
    over = page.tab.locator("#prompt-overlong")
    expect(over).to_contain_text(f"The last {count - 77} tokens are past the 77")
    page.fill("a lake")
    expect(over).to_be_hidden()
