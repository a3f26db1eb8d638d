"""TLS: what is refused at the start, who is let in, and files that change while streams run."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.certificates import Authority, Pair
from support.gateways import generate, held, let, read, read_until, request, until
from support.house import House, house
from support.patience import PATIENCE_S

from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden_server.config import GatewayConfig
from leyden_server.errors import ConfigError
from leyden_server.gateway.tls import check_tls_files

DAY = timedelta(days=1)

RARE_KEY = b"""\
-----BEGIN PRIVATE KEY-----
ME4CAQAwEAYHKoZIzj0CAQYFK4EEAAYENzA1AgEBBA6qVt75KZDWQq5JxgewfqEg
Ax4ABKZ14Cvwzhu6LLPzDKE0od+PecYOh8Da6mlgshg=
-----END PRIVATE KEY-----
"""
"""Of a curve (secp112r1) that the library which reads keys does not know."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> dict[str, Any]:
    """Settings of a server whose certificate is right."""
    certificate, private_key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.issue().write(certificate, private_key)
    return {"tls_certificate": str(certificate), "tls_private_key": str(private_key)}


def write(files: dict[str, Any], pair: Pair) -> None:
    pair.write(Path(files["tls_certificate"]), Path(files["tls_private_key"]))


def refused(files: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        check_tls_files(GatewayConfig.model_validate(files))
    text = str(caught.value)
    assert "\n" not in text
    assert "-----BEGIN" not in text
    return text


def secure(home: House, authority: Authority, client: Pair | None = None) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        authority.certificate,
        client.private_key if client else None,
        client.certificate if client else None,
    )
    # A pool of its own: each channel shakes hands anew.
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(home.address, credentials, options)


async def serving(channel: grpc.aio.Channel) -> bool:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def shows(home: House, authority: Authority) -> bool:
    """Return whether the server shows a certificate of the authority to who connects now."""
    async with secure(home, authority) as channel:
        try:
            return await serving(channel)
        except grpc.aio.AioRpcError as error:
            if "CERTIFICATE_VERIFY_FAILED" in (error.details() or ""):
                return False
            raise


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda a: a.issue(begins=-2 * DAY, ends=-DAY), "CN=localhost has expired at "),
        (lambda a: a.issue(begins=DAY, ends=2 * DAY), "CN=localhost is not valid before "),
        (lambda a: Pair(b"no pem", a.issue().private_key), "holds no certificate in PEM"),
        (lambda a: Pair(b"", a.issue().private_key), "holds no certificate in PEM"),
    ],
)
def test_a_certificate_that_nobody_would_take(
    authority: Authority,
    files: dict[str, Any],
    spoil: Callable[[Authority], Pair],
    text: str,
) -> None:
    write(files, spoil(authority))
    said = refused(files)
    assert said.startswith(f"gateway.tls_certificate: {files['tls_certificate']}: ")
    assert text in said


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (
            lambda a: Pair(a.issue().certificate, a.issue().private_key),
            "is not the key of the first certificate in ",
        ),
        (lambda a: a.issue(password=b"secret"), "has a password"),
        (lambda a: Pair(a.issue().certificate, b"no pem"), "holds no private key in PEM"),
        (
            lambda a: a.issue(key=ed25519.Ed25519PrivateKey.generate()),
            "gRPC takes RSA keys of 1024 bits or more and elliptic curve keys on P-256, ",
        ),
        (lambda a: a.issue(key=ec.generate_private_key(ec.SECP256K1())), "and this is another"),
        (lambda a: Pair(a.issue().certificate, RARE_KEY), "and this is another"),
    ],
)
def test_a_key_that_does_not_do(
    authority: Authority,
    files: dict[str, Any],
    spoil: Callable[[Authority], Pair],
    text: str,
) -> None:
    write(files, spoil(authority))
    said = refused(files)
    assert said.startswith(f"gateway.tls_private_key: {files['tls_private_key']}: ")
    assert text in said
    assert "secret" not in said


@pytest.mark.parametrize("setting", ["tls_certificate", "tls_private_key", "tls_client_ca"])
def test_a_file_that_cannot_be_read_is_named(files: dict[str, Any], setting: str) -> None:
    said = refused({**files, setting: "/nowhere/x.pem"})
    assert said == f"gateway.{setting}: /nowhere/x.pem: cannot be read: No such file or directory"


def test_the_authority_of_clients_is_looked_at_too(
    authority: Authority, files: dict[str, Any], tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.issue(ends=-timedelta(hours=1)).certificate)
    assert "has expired" in refused({**files, "tls_client_ca": str(ca)})


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"tls_certificate": "/c"}, "are set both, or neither"),
        ({"tls_private_key": "/k"}, "are set both, or neither"),
        ({"tls_client_ca": "/ca"}, "tls_client_ca needs tls_certificate"),
    ],
)
def test_settings_that_go_together(settings: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        GatewayConfig.model_validate(settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "::", "10.1.2.3", "gpu-7.example.com"])
def test_plaintext_beyond_this_machine_is_asked_for(host: str, files: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is open to the network, in plaintext.*--insecure"):
        GatewayConfig.model_validate({"host": host})
    GatewayConfig.model_validate({"host": host, "insecure": True})
    GatewayConfig.model_validate({"host": host, **files})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "[::1]", "localhost"])
def test_plaintext_on_this_machine_is_fine(host: str) -> None:
    assert not GatewayConfig.model_validate({"host": host}).insecure


async def test_who_believes_the_authority_is_served(
    authority: Authority, files: dict[str, Any]
) -> None:
    async with house(**files) as home:
        async with secure(home, authority) as channel:
            assert await serving(channel)
            call: Any = pb_grpc.ImageGenerationServiceStub(channel).GenerateImage(request())
            assert (await read(call))[-1].HasField("summary")
        async with secure(home, Authority("another")) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="CERTIFICATE_VERIFY_FAILED"):
                await serving(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await serving(home.channel)  # plaintext


async def test_an_rsa_key_serves_too(authority: Authority, files: dict[str, Any]) -> None:
    write(files, authority.issue(key=rsa.generate_private_key(65537, 2048)))
    async with house(**files) as home, secure(home, authority) as channel:
        assert await serving(channel)


async def test_what_stands_around_the_pem_does_not_matter(
    authority: Authority, files: dict[str, Any]
) -> None:
    pair = authority.issue()
    write(files, Pair(b"\xef\xbb\xbf" + pair.certificate, b"A note.\n" + pair.private_key))
    async with house(**files) as home, secure(home, authority) as channel:
        assert await serving(channel)


async def test_mutual_tls_lets_in_clients_of_the_authority_alone(
    authority: Authority, files: dict[str, Any], tmp_path: Path
) -> None:
    clients = Authority("of clients")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(clients.certificate)
    async with house(**files, tls_client_ca=str(ca)) as home:
        async with secure(home, authority, clients.issue("alice")) as channel:
            assert await serving(channel)
        for stranger in (None, Authority("another").issue("mallory")):
            async with secure(home, authority, stranger) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await serving(channel)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_new_certificate_is_shown_to_who_connects_and_no_stream_breaks(
    authority: Authority, files: dict[str, Any]
) -> None:
    successor = Authority("successor")
    async with house(denoiser=held(), **files) as home, secure(home, authority) as channel:
        call: Any = pb_grpc.ImageGenerationServiceStub(channel).GenerateImage(request())
        await read_until(call, "text_encoded")
        write(files, successor.issue())
        await until(lambda: home.records.notes)
        assert "read again, good until" in home.records.notes[0]
        assert await shows(home, successor)
        assert not await shows(home, authority)
        let(home)
        assert (await read(call))[-1].HasField("summary")


async def test_what_is_wrong_in_a_new_file_is_said_once_and_the_old_one_stays(
    authority: Authority, files: dict[str, Any]
) -> None:
    async with house(**files) as home:
        write(files, authority.issue(begins=-2 * DAY, ends=-DAY))
        await until(lambda: home.records.notes)
        (note,) = home.records.notes
        assert "has expired" in note
        assert note.endswith("; the certificate of before stays")
        assert await shows(home, authority)
        write(files, authority.issue())
        await until(lambda: "read again" in home.records.notes[-1])
        assert len(home.records.notes) == 2, "what is wrong was said once"
        assert await shows(home, authority)


async def test_the_authority_of_clients_may_change(
    authority: Authority, files: dict[str, Any], tmp_path: Path
) -> None:
    before, after = Authority("before"), Authority("after")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(before.certificate)
    async with house(**files, tls_client_ca=str(ca)) as home:
        ca.write_bytes(after.certificate)
        await until(lambda: home.records.notes)
        async with secure(home, authority, after.issue("bob")) as channel:
            assert await serving(channel)
        async with secure(home, authority, before.issue("alice")) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await serving(channel)


async def test_generating_over_plaintext_goes_on_as_before() -> None:
    async with house() as home:
        assert (await read(generate(home)))[-1].HasField("summary")
