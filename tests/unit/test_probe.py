"""The probe asks a Gateway that speaks TLS, as a pod's own."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority
from support.house import House, house


async def probe(*arguments: str) -> tuple[int, str]:
    """Return how it ended and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "leyden_server.gateway.probe",
        *arguments,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


def address(home: House) -> tuple[str]:
    return (f"--port={home.address.rpartition(':')[2]}",)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    authority, certificate, private_key = Authority(), tmp_path / "a.crt", tmp_path / "a.key"
    authority.issue().write(certificate, private_key)
    client_ca = tmp_path / "ca.crt"
    client_ca.write_bytes(authority.certificate)
    return {
        "tls_certificate": str(certificate),
        "tls_private_key": str(private_key),
        "tls_client_ca": str(client_ca),
    }


async def test_alive_ready_and_unknown(files: dict[str, Any]) -> None:
    del files["tls_client_ca"]
    async with house(**files, load=False) as home:
        own = (*address(home), "--certificate", files["tls_certificate"])
        assert await probe(*own, "--service=leyden.live") == (0, "")
        assert await probe(*own) == (1, "NOT_SERVING\n")
        await home.server.load()
        assert await probe(*own) == (0, "")
        code, said = await probe(*own, "--service=nobody")
        assert (code, said[:9]) == (1, "NOT_FOUND")


async def test_where_clients_show_certificates(files: dict[str, Any]) -> None:
    async with house(**files) as home:
        own = (*address(home), "--certificate", files["tls_certificate"])
        assert await probe(*own, "--private-key", files["tls_private_key"]) == (0, "")
        code, said = await probe(*own)
        assert (code, said[:11]) == (1, "UNAVAILABLE")


async def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    code, said = await probe("--port=1", "--certificate", str(tmp_path / "none"))
    assert (code, said.count("\n")) == (1, 1)
    (tmp_path / "text").write_text("no certificate")
    code, said = await probe("--port=1", "--certificate", str(tmp_path / "text"))
    assert code == 1
    assert str(tmp_path / "text") in said
