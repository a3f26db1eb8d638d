"""The `leyden` command."""
