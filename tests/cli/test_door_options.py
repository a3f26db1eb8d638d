"""`leyden serve` with files of TLS and API keys that are wrong: one line, and nothing starts."""

from datetime import timedelta
from pathlib import Path

import pytest
from cli.conftest import leyden
from support.certificates import Authority, Pair

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door")
    authority = Authority()
    good, other = authority.issue(), authority.issue()
    pairs = {
        "good": good,
        "expired": authority.issue(begins=-2 * HOUR, ends=-HOUR),
        "early": authority.issue(begins=HOUR, ends=2 * HOUR),
        "locked": authority.issue(password=b"open sesame"),
        "mixed": Pair(good.certificate, other.private_key),
        "junk": Pair(b"junk", b"junk"),
    }
    for name, pair in pairs.items():
        pair.write(folder / f"{name}.pem", folder / f"{name}.key")
    (folder / "keys.yaml").write_text("keys: [{name: a, id: b}]\n")
    return folder


@pytest.mark.parametrize(
    ("name", "setting", "text"),
    [
        ("expired", "tls_certificate", "expired.pem: CN=localhost has expired at "),
        ("early", "tls_certificate", "early.pem: CN=localhost is not valid before "),
        ("junk", "tls_certificate", "junk.pem: holds no certificate in PEM"),
        ("absent", "tls_certificate", "absent.pem: cannot be read: No such file"),
        ("locked", "tls_private_key", "locked.key: has a password"),
        ("mixed", "tls_private_key", "mixed.key: is not the key of the first certificate in "),
    ],
)
def test_a_wrong_certificate_is_one_line(folder: Path, name: str, setting: str, text: str) -> None:
    said = _refused(folder, "--tls-certificate", f"{name}.pem", "--tls-private-key", f"{name}.key")
    assert said.startswith(f"error: gateway.{setting}: ")
    assert text in said


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("absent.yaml", "absent.yaml: cannot be read: No such file"),
        ("keys.yaml", "keys.yaml: keys.0.id: "),
        ("good.key", "good.key: "),
    ],
)
def test_a_wrong_key_file_is_one_line(folder: Path, file: str, text: str) -> None:
    said = _refused(folder, "--api-keys", file)
    assert said.startswith("error: gateway.api_keys: ")
    assert text in said
    assert "PRIVATE" not in said


def test_half_of_tls_is_one_line(folder: Path) -> None:
    said = _refused(folder, "--tls-certificate", "good.pem")
    assert "tls_certificate and tls_private_key are set both, or neither" in said


def _refused(folder: Path, *arguments: str) -> str:
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        result = leyden("serve", "--port", "0", *arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line
