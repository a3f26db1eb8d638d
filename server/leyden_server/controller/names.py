"""The names of everything that a server has in a Ray that it may share with others.

Each begins with the instance (`ray.instance`) and a hyphen, which an instance's name cannot
have: no name of one instance is a name of another's, whatever their models are called.
"""

import hashlib
from dataclasses import dataclass

__all__ = ["Names"]


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one instance."""

    instance: str

    @property
    def gateway(self) -> str:
        """The Gateway's Serve application."""
        return f"{self.instance}-gateway"

    @property
    def directory(self) -> str:
        """The actor that knows which Gateway a generation lives in."""
        return f"{self.instance}-directory"

    @property
    def models(self) -> str:
        """The actor that loads and unloads models."""
        return f"{self.instance}-models"

    def text_encoder(self, base_key: str) -> str:
        """Return the Serve application of the text encoders that models of one base share."""
        return f"{self.instance}-text-encoder-{_digest(base_key)}"

    def denoiser(self, model: str) -> str:
        """Return the Serve application of one model's UNet."""
        return f"{self.instance}-denoiser-{model}"

    def vae(self, base_key: str) -> str:
        """Return the Serve application of the VAE that models of one base share."""
        return f"{self.instance}-vae-{_digest(base_key)}"

    def of_stage(self, kind: str, model: str) -> str:
        """Return a stage's application in a Serve config: named after a model, whatever its files.

        `kind` is the stage's section of the settings.
        """
        return f"{self.instance}-{kind.replace('_', '-')}-{model}"

    def section(self, application: str) -> str:
        """Return the section of the settings that an application of ours is configured by."""
        kind = application.removeprefix(f"{self.instance}-")
        sections = ("gateway", "text_encoder", "denoiser", "vae")
        return next(name for name in sections if kind.startswith(name.replace("_", "-")))

    def owns(self, name: str) -> bool:
        """Tell whether a name is one of this instance's."""
        return name.startswith(f"{self.instance}-")


def _digest(base_key: str) -> str:
    return hashlib.sha256(base_key.encode()).hexdigest()[:8]
