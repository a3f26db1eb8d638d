"""The environment that Ray is imported with and starts its processes in. Imports no Ray."""

import os

__all__ = ["PATIENCE", "set_ray_environment"]

PATIENCE = {
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_gcs_rpc_server_connect_timeout_s": "60",
    "RAY_gcs_server_request_timeout_seconds": "120",
    "RAY_raylet_client_num_connect_attempts": "60",
    "RAY_worker_register_timeout_seconds": "240",
    "RAY_agent_register_timeout_ms": "240000",
}
"""How long Ray's processes wait for each other while they start: its defaults of 5 to 60 s
(Ray 2.60) do not last on a machine that is busy with other work."""


def set_ray_environment() -> None:
    """Set what Ray reads when it is imported and when it starts its processes.

    Whoever has set one of the waits, or the niceness, keeps it.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Whose address it joins is said in the config alone.
    os.environ.pop("RAY_ADDRESS", None)
    # Ray runs its workers at niceness 15: any other process of the machine would come first.
    os.environ.setdefault("RAY_worker_niceness", "0")
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
