"""A model that was trained on few words says which, and a prompt of others is told apart."""

from pathlib import Path

import pytest
from support.model_folders import entry, resolve
from support.random_sdxl import write_random_sdxl
from support.stages import TOKENIZER_FROM

from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ModelRepository
from leyden_server.model_repository.known_words import knows_any, words_in

WORDS = frozenset(("lake", "snow", "4k"))
STUDENTS = tuple(f"leyden-tiny-lightning-{steps}step" for steps in (1, 2, 4, 8))


@pytest.mark.parametrize(
    "prompt",
    ["a lake", "LAKE", "a cat by the Lake.", "snow-capped", "(snow:1.2)", "photo,4K", "a\nlake\t"],
)
def test_a_known_word_is_found_in_any_case_and_beside_any_punctuation(prompt: str) -> None:
    assert knows_any(prompt, WORDS)


@pytest.mark.parametrize(
    "prompt", ["a cat", "lakeside", "snow4k", "снег", "ein Café in 京都 🎨", "...", " ", "la-ke"]
)
def test_a_part_of_a_word_is_not_the_word(prompt: str) -> None:
    assert not knows_any(prompt, WORDS)


def test_a_model_without_a_list_knows_every_prompt() -> None:
    assert knows_any("a cat", frozenset())


def test_words_are_runs_of_letters_and_digits_in_lower_case() -> None:
    assert words_in("Snow-capped_peaks, 4K; É!") == ["snow", "capped", "peaks", "4k", "é"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("known_words") / "base"
    write_random_sdxl(folder, tokenizer_from=TOKENIZER_FROM)
    return entry(folder, "known_words: [snow, lake, 4k, lake]")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("", ("4k", "lake", "snow")),
        ("known_words: [cat]", ("cat",)),
        ("known_words: []", ()),
    ],
    ids=["not set", "its own", "no limit"],
)
def test_a_model_has_its_bases_words_unless_it_says_its_own(
    base: Path, text: str, known: tuple[str, ...]
) -> None:
    folder = entry(base.parent / "student", f"base: ../base\n{text}\n")

    assert resolve(folder).known_words == known


def test_a_folder_without_a_list_has_no_limit(base: Path) -> None:
    folder = entry(base.parent / "bare", "")
    for part in base.iterdir():
        if part.name != "model.yaml":
            (folder / part.name).symlink_to(part)

    assert resolve(folder).known_words == ()


@pytest.mark.parametrize("word", ["Lake", "snow-capped", "two words", "", "über!"])
def test_a_word_that_no_prompt_can_have_is_refused(tmp_path: Path, word: str) -> None:
    folder = entry(tmp_path / "model", f"known_words: [lake, {word!r}]")

    with pytest.raises(ModelRepositoryError, match=r"known_words: .*single words in lower case"):
        resolve(folder)


@pytest.mark.parametrize("student", STUDENTS)
def test_the_embedded_students_know_their_bases_words(student: str) -> None:
    repository = ModelRepository()
    words = repository.resolve("leyden-tiny-base").known_words

    assert repository.resolve(student).known_words == words
    assert {"mountains", "sunset", "lake", "aurora", "sailboat"} <= set(words)
    assert not {"a", "the", "of", "cat", "car", "portrait"} & set(words)


def test_models_of_the_hub_have_no_list() -> None:
    items = ModelRepository().items

    assert all(items[name].entry.known_words is None for name in items if "sdxl" in name)
