"""The hook before a pod's end waits for what runs, and for nobody who is gone."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from support.gateways import generate, held, let, read, read_until
from support.house import house
from support.patience import PATIENCE_S

from leyden_server.config import GatewayConfig
from leyden_server.controller.metrics_address import MetricsAddress

HOOK = (sys.executable, "-m", "leyden_server.controller.pod_stop")


async def hook(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *HOOK, *arguments, stderr=asyncio.subprocess.PIPE, env={**os.environ, **environment}
    )


async def test_a_pod_with_all_waits_for_its_images(tmp_path: Path) -> None:
    with MetricsAddress(GatewayConfig(metrics_port=0)) as page:
        settings = {"metrics_folder": tmp_path, "metrics_port": page.port}
        async with house(denoiser=held(), **settings) as home:  # type: ignore[arg-type]
            call = generate(home)
            await read_until(call, "text_encoded")
            waits = await hook("--role=both", f"--page={page.url}", "--within=3")
            # It does so for as long as it may, and is ended then.
            assert await asyncio.wait_for(waits.wait(), PATIENCE_S) == -signal.SIGALRM
            ends = await hook("--role=both", f"--page={page.url}", f"--within={int(PATIENCE_S)}")
            let(home)
            await read(call)
            assert await asyncio.wait_for(ends.wait(), PATIENCE_S) == 0


async def test_where_the_head_is_gone_nothing_is_waited_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{free.getsockname()[1]}"
        for role in ("gateway", "stage", "head"):
            ends = await hook(f"--role={role}", f"--within={int(PATIENCE_S)}", RAY_ADDRESS=address)
            _, said = await ends.communicate()
            assert ends.returncode == 0
            assert b"nothing to wait for: ConnectionRefusedError" in said
