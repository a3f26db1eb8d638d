"""Adds the other distributions of Leyden to the dependencies, at the same version."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class SameVersion(MetadataHookInterface):
    """Fills in `dependencies`: those of the hook's settings, and `same-version` as `==`."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the dependencies."""
        version_file = Path(self.root, self.config["version-file"])
        found = re.search(r'__version__ = "(.+)"', version_file.read_text(encoding="utf-8"))
        if found is None:
            raise ValueError(f"{version_file} has no __version__")
        metadata["dependencies"] = [
            *(f"{name}=={found[1]}" for name in self.config["same-version"]),
            *self.config["dependencies"],
        ]
