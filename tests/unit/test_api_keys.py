"""API keys: what they look like, the file of their hashes, and how one is found."""

import hashlib
import json
import os
import re
import stat
import threading
from pathlib import Path

import pytest

from leyden_cli.main import main
from leyden_server.api_keys.key import digest, id_of, new_key
from leyden_server.api_keys.key_file import KeyEntry, KeyFile, changing
from leyden_server.api_keys.known_keys import ApiKeyFile, ApiKeys
from leyden_server.errors import ConfigError
from leyden_server.generations.account import Account


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def added(capsys: pytest.CaptureFixture[str], path: Path, *words: str) -> str:
    assert main(["keys", "add", *words, "--file", str(path)]) == 0
    return capsys.readouterr().out.strip()


def test_a_key_is_a_word_with_an_id_and_32_random_bytes() -> None:
    keys = {new_key() for _ in range(100)}
    assert len({id_of(key) for key in keys}) == 100
    for key in keys:
        assert re.fullmatch(r"ley_[a-z2-7]{8}_[a-z2-7]{52}", key)
    assert digest("x") == hashlib.sha256(b"x").digest()


@pytest.mark.parametrize("text", ["", "ley_", "ley__", "a" * 65, "ley_aaaaaaaa_" + "A" * 52])
def test_what_is_no_key_has_no_id(text: str) -> None:
    assert id_of(text) == ""


def test_the_key_is_printed_once_and_its_hash_alone_is_kept(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    key = added(capsys, path, "alice", "--rate", "90", "--concurrency", "3", "--priority", "4")
    written = path.read_text()
    assert key not in written
    assert key.rpartition("_")[2] not in written
    assert digest(key).hex() in written
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ApiKeyFile(path).find(key) == Account(
        "alice", id_of(key), most_priority=4, images_per_minute=90.0, images_at_once=3
    )


def test_all_that_a_key_may_is_listed_and_no_hash(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    alice = added(capsys, path, "alice", "--models", "a, b", "--rate", "6")
    ops = added(capsys, path, "ops", "--operator")
    assert main(["keys", "list", "--file", str(path)]) == 0
    text = capsys.readouterr().out
    assert "alice" in text
    assert "6 images a minute, models a, b" in text
    assert "operator" in text
    assert main(["keys", "list", "--json", "--file", str(path)]) == 0
    listed = capsys.readouterr().out
    assert [json.loads(line)["name"] for line in listed.splitlines()] == ["alice", "ops"]
    for secret in (alice, ops):
        assert digest(secret).hex() not in text + listed
        assert secret not in text + listed


def test_a_removed_key_is_none(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    gone, stays = added(capsys, path, "gone"), added(capsys, path, "stays")
    assert main(["keys", "remove", "gone", "--file", str(path)]) == 0
    keys = ApiKeyFile(path)
    assert keys.find(gone) is None
    assert keys.find(stays)
    assert main(["keys", "remove", "gone", "--file", str(path)]) == 1
    assert "has no key 'gone'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["alice"], "has a key 'alice' already"),
        (["a b"], "name"),
        (["bob", "--rate", "0"], "images_per_minute: Input should be greater than 0"),
        (["bob", "--concurrency", "0"], "images_at_once"),
        (["bob", "--priority", "10"], "most_priority"),
    ],
)
def test_a_key_that_cannot_be_is_one_line(
    capsys: pytest.CaptureFixture[str], path: Path, words: list[str], text: str
) -> None:
    added(capsys, path, "alice")
    before = path.read_bytes()
    assert main(["keys", "add", *words, "--file", str(path)]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert text in error
    assert len(error.splitlines()) == 1
    assert path.read_bytes() == before


def test_many_who_add_at_once_lose_nothing(path: Path) -> None:
    def add(name: str) -> None:
        with changing(path) as file:
            KeyFile(keys=(*file.keys, KeyEntry.of(new_key(), name))).write(path)

    threads = [threading.Thread(target=add, args=(f"k{n}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.name for entry in KeyFile.load(path).keys} == {f"k{n}" for n in range(12)}
    assert {file.name for file in path.parent.iterdir()} == {"keys.yaml", ".keys.yaml.lock"}


def test_a_link_to_the_file_stays_one(path: Path) -> None:
    real = path.with_name("real.yaml")
    KeyFile().write(real)
    path.symlink_to(real)
    with changing(path) as file:
        KeyFile(keys=(*file.keys, KeyEntry.of(new_key(), "a"))).write(path)
    assert path.is_symlink()
    assert len(KeyFile.load(real).keys) == 1


@pytest.mark.parametrize(
    "text",
    [
        "keys: [{name: a, id: {KEY}}]",
        "keys: [{KEY}]",
        "keys: {KEY}",
        "{KEY}: 1",
        "keys: [{KEY",
        "keys: [{name: a, id: aaaaaaaa, sha256: {KEY}, rate: 1}]",
        "keys: '{KEY}\nx: [",
        "{KEY}: 2001-99-99",
        "{KEY}: !!float {KEY}",
        "{KEY}: !!timestamp {KEY}",
        "{KEY}: !!bool {KEY}",
    ],
)
def test_a_wrong_file_is_named_and_not_quoted(path: Path, text: str) -> None:
    key = new_key()
    path.write_text(text.replace("{KEY}", key).replace("{KEY", key))
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        KeyFile.load(path)
    said = repr(caught.value) + str(caught.value.__cause__)
    assert key.rpartition("_")[2] not in said


@pytest.mark.parametrize("what", ["name", "id"])
def test_two_keys_are_two(what: str) -> None:
    one, two = KeyEntry.of(new_key(), "one"), KeyEntry.of(new_key(), "two")
    same = two.model_copy(update={what: getattr(one, what)})
    with pytest.raises(ValueError, match=f"two keys have the {what}"):
        KeyFile(keys=(one, same))


def test_a_misspelt_limit_is_not_passed_over(path: Path) -> None:
    path.write_text(f"keys: [{{name: a, id: aaaaaaaa, sha256: {'0' * 64}, model: [x]}}]")
    with pytest.raises(ConfigError, match=r"keys.0.model: unknown key.*'models'"):
        KeyFile.load(path)


def test_a_wrong_key_of_a_known_id_is_none_of_them() -> None:
    key = new_key()
    keys = ApiKeys([KeyEntry.of(key, "a")])
    other = f"{key[:13]}{new_key()[13:]}"
    assert id_of(other) == id_of(key)
    assert keys.find(key)
    assert keys.find(other) is None
    assert keys.find(new_key()) is None
    assert keys.find("") is None
    assert keys.find("\udcff") is None


def test_a_folder_that_is_not_there_is_said_by_the_name_of_the_file(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    missing = path.parent / "nowhere" / "keys.yaml"
    assert main(["keys", "add", "alice", "--file", str(missing)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: {missing}: cannot be written in its folder: No such file or directory\n"


def test_a_file_that_does_not_parse_leaves_the_old_keys(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    key = added(capsys, path, "alice")
    keys = ApiKeyFile(path)
    path.write_text("keys: [")
    with pytest.raises(ConfigError):
        keys.reload()
    assert keys.find(key)
    os.truncate(path, 0)
    assert "0 keys" in keys.reload()
    assert keys.find(key) is None
