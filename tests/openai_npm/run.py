"""Runs OpenAI's own client for JavaScript against a real server: a part of `make test-clients`."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
START_S = 600.0
CONFIG = "gateway: {port: 0, metrics_port: null, web_port: 0, openai: true}\n"


def main() -> int:
    """Start a server, run the tests, see what the server says of them; return the exit code."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        print("openai (npm): SKIPPED: node and npm are not here")
        return 0
    npm = ["npm", "ci", "--no-audit", "--no-fund", "--silent", "--prefix", str(HERE)]
    subprocess.run(npm, check=True)
    with tempfile.TemporaryDirectory(prefix="leyden-openai-") as name:
        folder = Path(name)
        (folder / "leyden.yaml").write_text(CONFIG, encoding="utf-8")
        with (folder / "log").open("w", encoding="utf-8") as log:
            serve = [sys.executable, "-m", "leyden_cli", "serve", "--in-process"]
            server = subprocess.Popen(
                [*serve, "--config", str(folder / "leyden.yaml")],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            try:
                code = tested(server, folder / "log")
            finally:
                server.terminate()
                server.wait()
        return code or left(folder / "log")


def tested(server: "subprocess.Popen[str]", log: Path) -> int:
    """Run the tests once the server is ready; return their exit code."""
    assert server.stdout is not None
    ready = server.stdout.readline()
    web = re.search(r"web: (http://\S+)", log.read_text(encoding="utf-8"))
    if not ready.startswith("ready") or web is None:
        print(f"the server did not start: {log.read_text(encoding='utf-8')}", file=sys.stderr)
        return 1
    node = ["node", "--test", "--test-reporter", "spec", str(HERE / "images.test.mjs")]
    environment = os.environ | {"LEYDEN_WEB": web[1]}
    return subprocess.run(node, env=environment, check=False, timeout=START_S).returncode


def left(log: Path) -> int:
    """Return 0 where the server says that the one request that was left has ended early."""
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines() if line[:1] == "{"]
    codes = [line["code"] for line in lines if line.get("protocol") == "openai"]
    if codes.count("CANCELLED") == 1:
        return 0
    print(f"FAILED: one request was left, and the server's log has {codes}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
