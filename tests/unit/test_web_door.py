"""The HTTP door's TLS and keys, and which Gateway of a machine serves it."""

import asyncio
import ssl
from pathlib import Path

import httpx2
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from pydantic import ValidationError
from support.certificates import Authority
from support.gateways import held, let, request, until
from support.house import house
from support.patience import PATIENCE_S
from support.web import Connected, address, connected, web_house

from leyden_server.api_keys.key import new_key
from leyden_server.api_keys.key_file import KeyEntry, KeyFile
from leyden_server.config import GatewayConfig

LISTED = ["leyden-tiny-lightning-4step"]


async def certificate_of(port: int, ca: bytes) -> bytes:
    """Return the certificate that the door shows to who believes an authority."""
    context = ssl.create_default_context(cadata=ca.decode())
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown


def files(folder: Path) -> tuple[Path, Path]:
    return folder / "cert.pem", folder / "key.pem"


async def test_it_speaks_tls_and_takes_a_new_certificate(tmp_path: Path) -> None:
    authority = Authority()
    authority.issue().write(*files(tmp_path))
    tls = {
        "tls_certificate": str(tmp_path / "cert.pem"),
        "tls_private_key": str(tmp_path / "key.pem"),
    }
    async with web_house(**tls) as home:
        assert home.server.web is not None
        port = home.server.web.port
        first = await certificate_of(port, authority.certificate)
        context = ssl.create_default_context(cadata=authority.certificate.decode())
        async with httpx2.AsyncClient(verify=context) as http:
            url = f"https://127.0.0.1:{port}/leyden.v1.ModelService/ListModels"
            headers = {"origin": f"https://127.0.0.1:{port}"}
            answer = await http.post(url, json={}, headers=headers)
            assert [model["name"] for model in answer.json()["models"]] == LISTED
        authority.issue().write(*files(tmp_path))
        async with asyncio.timeout(PATIENCE_S):
            while await certificate_of(port, authority.certificate) == first:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        (tmp_path / "cert.pem").write_text("junk")
        await until(lambda: any("certificate of before stays" in n for n in home.records.notes))
        assert await certificate_of(port, authority.certificate) != first


async def test_mutual_tls_lets_in_who_has_a_certificate(tmp_path: Path) -> None:
    authority, client = Authority(), tmp_path / "client"
    client.mkdir()
    authority.issue().write(*files(tmp_path))
    authority.issue("alice").write(*files(client))
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    names = {"tls_certificate": "cert.pem", "tls_private_key": "key.pem", "tls_client_ca": "ca.pem"}
    async with web_house(**{name: str(tmp_path / file) for name, file in names.items()}) as home:
        url = f"https://{address(home)}/leyden.v1.ModelService/ListModels"
        context = ssl.create_default_context(cadata=authority.certificate.decode())
        async with httpx2.AsyncClient(verify=context) as http:
            with pytest.raises(httpx2.HTTPError):
                await http.post(url, json={})
        context.load_cert_chain(*files(client))
        async with httpx2.AsyncClient(verify=context) as http:
            assert (await http.post(url, json={})).status_code == 200


async def refused(client: Connected) -> ConnectError:
    with pytest.raises(ConnectError) as raised:
        async for _ in client.generate(request()):
            pass
    return raised.value


async def test_a_key_is_asked_for_and_its_limits_hold(tmp_path: Path) -> None:
    key, path = new_key(), tmp_path / "keys.yaml"
    KeyFile(keys=(KeyEntry.of(key, "alice", models=("leyden-tiny-base",)),)).write(path)
    async with web_house(api_keys=str(path)) as home:
        url = f"http://{address(home)}"
        async with connected(url) as stranger:
            assert (await refused(stranger)).code is Code.UNAUTHENTICATED
            answer = await stranger.post("leyden.v1.ModelService/ListModels", b"{}")
            assert answer.status == 401
        async with connected(url, key=key) as alice:
            assert await alice.list_models() == LISTED
            assert (await refused(alice)).code is Code.PERMISSION_DENIED
            with pytest.raises(ConnectError) as state:
                await alice.server_state()
            assert state.value.code is Code.PERMISSION_DENIED
        told = [(record.key, record.code) for record in home.records.records]
        assert told == [
            ("", "UNAUTHENTICATED"),
            ("", "UNAUTHENTICATED"),
            ("alice", "PERMISSION_DENIED"),
        ]


async def test_connections_of_a_key_are_counted(tmp_path: Path) -> None:
    key, path = new_key(), tmp_path / "keys.yaml"
    KeyFile(keys=(KeyEntry.of(key, "alice"),)).write(path)
    limits = {"api_keys": str(path), "max_connections_per_key": 1}
    async with web_house(denoiser=held(), **limits) as home:
        url = f"http://{address(home)}"
        async with connected(url, key=key) as first, connected(url, key=key) as second:
            events = first.generate(request())
            await anext(aiter(events))
            error = await refused(second)
            assert error.code is Code.RESOURCE_EXHAUSTED
            let(home)
            assert [event async for event in events][-1].HasField("summary")
            assert await second.list_models() == LISTED


async def test_another_gateway_takes_the_door_over(tmp_path: Path) -> None:
    async with web_house(web_folder=tmp_path / "web") as first:
        port = int(address(first).rpartition(":")[2])
        async with house(web_port=port, web_folder=tmp_path / "web") as second:
            await first.server.stop()
            async with asyncio.timeout(PATIENCE_S), connected(f"http://127.0.0.1:{port}") as client:
                while True:
                    try:
                        assert await client.list_models() == LISTED
                        break
                    except ConnectError:
                        await asyncio.sleep(0.1)
            assert second.server.web is not None


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"web_port": 8080, "web_host": "0.0.0.0"}, "web_host 0.0.0.0 is open to the network"),
        ({"openai": True}, "openai needs web_port"),
        ({"web_port": 70000}, "65535"),
        ({"web_port": 1, "web_hosts": ["http://name"]}, "web_hosts"),
        ({"web_port": 1, "web_hosts": ["name:80"]}, "web_hosts"),
    ],
)
def test_settings_that_are_wrong_are_said(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        GatewayConfig.model_validate(settings)


def test_plaintext_beyond_this_machine_is_meant() -> None:
    GatewayConfig.model_validate({"web_port": 8080, "web_host": "0.0.0.0", "insecure": True})
    GatewayConfig.model_validate({"web_host": "0.0.0.0"})
