"""SDK and command against a server with TLS, mutual TLS and API keys."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.certificates import Authority, Pair
from support.house import House, house
from support.patience import PATIENCE_S

from leyden_client import (
    AsyncClient,
    Client,
    PermissionDeniedError,
    TlsConfig,
    UnauthenticatedError,
    UnavailableError,
)
from leyden_client.errors import OverloadedError
from leyden_server.api_keys.key import new_key
from leyden_server.api_keys.key_file import KeyEntry, KeyFile


@dataclass
class Secured:
    """A server with mutual TLS and keys, and what a client needs for it."""

    home: House
    folder: Path
    authority: Authority
    mine: Pair
    key: str

    @property
    def address(self) -> str:
        return self.home.address

    @property
    def tls(self) -> TlsConfig:
        return TlsConfig(self.authority.certificate, self.mine.private_key, self.mine.certificate)


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    authority, key = Authority(), new_key()
    authority.issue().write(tmp_path / "server.pem", tmp_path / "server.key")
    mine = authority.issue("me")
    mine.write(tmp_path / "me.pem", tmp_path / "me.key")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "key").write_text(f"{key}\n")
    entry = KeyEntry.of(key, "me", images_per_minute=6, most_priority=4)
    KeyFile(keys=(entry,)).write(tmp_path / "keys.yaml")
    async with house(
        tls_certificate=str(tmp_path / "server.pem"),
        tls_private_key=str(tmp_path / "server.key"),
        tls_client_ca=str(tmp_path / "ca.pem"),
        api_keys=str(tmp_path / "keys.yaml"),
    ) as home:
        yield Secured(home, tmp_path, authority, mine, key)


async def test_the_asyncio_client_generates_watches_and_waits(secured: Secured) -> None:
    async with AsyncClient(secured.address, tls=secured.tls, api_key=secured.key) as client:
        await client.wait_until_ready(PATIENCE_S)
        generation = await client.generate_image("a lake", seed=3)
        assert generation.images[0].seed == 3
        assert [model.is_default for model in await client.list_models()] == [True]
        request_id = await client.start_image("a lake")
        async for _ in client.watch(request_id):
            pass
        await client.cancel(request_id)
    assert {record.key for record in secured.home.records.records} == {"me"}


async def test_the_blocking_client_reads_files(secured: Secured) -> None:
    folder = secured.folder
    tls = TlsConfig(folder / "ca.pem", str(folder / "me.key"), folder / "me.pem")

    def generate() -> int:
        with Client(secured.address, tls=tls, api_key=secured.key) as client:
            client.wait_until_ready(PATIENCE_S)
            return client.generate_image("a lake", seed=5).images[0].seed

    assert await asyncio.to_thread(generate) == 5


async def test_refusals_are_errors_of_their_own(secured: Secured) -> None:
    async with AsyncClient(secured.address, tls=secured.tls) as client:
        with pytest.raises(UnauthenticatedError, match="a valid API key is needed"):
            await client.generate_image("a lake", linger_s=0)
    async with AsyncClient(secured.address, tls=secured.tls, api_key=secured.key) as client:
        with pytest.raises(PermissionDeniedError, match="may ask for 4 or a larger number"):
            await client.generate_image("a lake", priority=1, linger_s=0)
        await client.generate_image("a lake", image_count=6)
        with pytest.raises(OverloadedError) as caught:
            await client.generate_image("a lake", linger_s=0)
        assert caught.value.reason == "RATE_LIMITED"
        assert caught.value.retry_after_s
        assert 5 < caught.value.retry_after_s <= 10


async def test_who_is_not_who_he_says_gets_no_connection(secured: Secured) -> None:
    for tls in (
        False,
        True,
        TlsConfig(secured.authority.certificate),
        TlsConfig(Authority().certificate, secured.mine.private_key, secured.mine.certificate),
    ):
        async with AsyncClient(secured.address, tls=tls, api_key=secured.key) as client:
            with pytest.raises(UnavailableError):
                await client.list_models(timeout_s=20)


def test_what_cannot_be_is_said_without_the_key() -> None:
    with pytest.raises(ValueError, match="one word of printable ASCII") as caught:
        Client(api_key="ley_secret\n")
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="both, or neither"):
        TlsConfig(private_key=b"x")
    with pytest.raises(ValueError, match=r"root_certificates: the bytes: not a PEM"):
        Client(tls=TlsConfig(b"junk"))
    with pytest.raises(FileNotFoundError):
        Client(tls=TlsConfig("/nowhere/ca.pem"))
    assert "hidden" not in repr(TlsConfig(private_key=b"hidden", certificate_chain=b"c"))


async def command(
    secured: Secured, *words: str, env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run `leyden` with a command and return its code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "leyden_cli", *words, "--server", secured.address),
        cwd=secured.folder,
        env={"PYTHONPATH": ":".join(sys.path), **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


MUTUAL = ("--ca", "ca.pem", "--cert", "me.pem", "--key", "me.key")


async def test_the_command_generates(secured: Secured) -> None:
    code, _, error = await command(
        secured, "generate", "a lake", "-o", "lake.png", *MUTUAL, "--api-key-file", "key"
    )
    assert code == 0, error
    assert (secured.folder / "lake.png").exists()
    code, out, error = await command(
        secured, "models", *MUTUAL[2:], env={"LEYDEN_API_KEY": secured.key, "LEYDEN_CA": "ca.pem"}
    )
    assert code == 0, error
    assert "leyden-tiny-lightning-4step" in out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (MUTUAL, "give your API key by LEYDEN_API_KEY or --api-key-file"),
        ((), "one that speaks TLS needs --tls"),
        (("--tls",), "name whom to believe with --ca"),
        (("--cert", "me.pem"), "--cert and --key are given both, or neither"),
        (("--ca", "nowhere.pem"), "nowhere.pem"),
        (("--ca", "key"), "not a PEM"),
        ((*MUTUAL, "--api-key", "a b"), "one word of printable ASCII"),
    ],
)
async def test_the_command_says_what_to_do(
    secured: Secured, words: tuple[str, ...], text: str
) -> None:
    code, out, error = await command(secured, "models", *words)
    assert code == 1
    assert out == ""
    assert text in error
    assert "Traceback" not in error
    assert secured.key not in error
