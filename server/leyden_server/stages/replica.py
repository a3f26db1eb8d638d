"""The name of the Serve replica that this process is."""

from ray import serve

__all__ = ["replica_name"]


def replica_name() -> str:
    """Return `application#id`, as logs and bills show it."""
    context = serve.get_replica_context()
    return f"{context.app_name}#{context.replica_id.unique_id}"
