"""docs/security.md: its commands make files that a server takes, and its settings are there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from leyden_server.config import GatewayConfig
from leyden_server.gateway.tls import check_tls_files

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_commands_make_certificates_that_a_server_takes(tmp_path: Path) -> None:
    (commands,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    made = subprocess.run(
        ["bash", "-e", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    for certificate, key in (("cert.pem", "key.pem"), ("alice.pem", "alice.key")):
        config = GatewayConfig.model_validate(
            {
                "tls_certificate": str(tmp_path / certificate),
                "tls_private_key": str(tmp_path / key),
                "tls_client_ca": str(tmp_path / "ca.pem"),
            }
        )
        check_tls_files(config)


def test_the_settings_that_it_names_are_there() -> None:
    named = set(re.findall(r"(?<!leyden_server\.)gateway\.([a-z_]+)", PAGE))
    assert len(named) > 8
    assert named <= set(GatewayConfig.model_fields)
