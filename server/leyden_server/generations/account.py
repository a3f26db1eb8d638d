"""Who asks, and what he may: an account for each API key, and one for all where there are none."""

from dataclasses import dataclass

from leyden_server.errors import PermissionDeniedError
from leyden_server.service_order import DEFAULT_PRIORITY

__all__ = ["ANY_KEY", "Account", "anybody"]

ANY_KEY = "*"
"""In place of a key's id in a generation's scoped name: of any key."""

MAX_MODELS_SAID = 16


@dataclass(frozen=True, slots=True)
class Account:
    """What a key's holder may; the limits hold for the whole server."""

    name: str = ""
    """The key's name, as logs have it; empty where the server has no keys."""
    key_id: str = ""
    """Empty where the server has no keys."""
    is_operator: bool = False
    """Whether he may load and unload models, change settings, and look at everything."""
    models: frozenset[str] = frozenset()
    """Names of the models that he may use; empty: all."""
    most_priority: int = 1
    """The smallest, so most urgent, number that he may give."""
    images_per_minute: float | None = None
    """None: no limit."""
    images_at_once: int | None = None
    """Most images that are accepted and not done; None: no limit."""

    def scoped(self, request_id: str) -> str:
        """Return a generation's name with its key, so that keys do not share names."""
        return f"{self.key_id}/{request_id}" if self.key_id else request_id

    def require_operator(self, what: str) -> None:
        """Raise PermissionDeniedError where `what`, a method's name, is not for this caller."""
        if self.is_operator:
            return
        whose = (
            f"the API key {self.name!r} has none"
            if self.key_id
            else "without API keys only who calls from the server's own machine has them"
        )
        raise PermissionDeniedError(
            "OPERATOR_ONLY", f"{what} needs operator rights; {whose}", {"method": what}
        )

    def require_model(self, model: str) -> None:
        """Raise PermissionDeniedError where the model is not among those of the key."""
        if self.models and model not in self.models:
            # They travel in a header, which has its limit.
            allowed = sorted(self.models)[:MAX_MODELS_SAID]
            raise PermissionDeniedError(
                "MODEL_NOT_ALLOWED",
                f"the API key {self.name!r} may not use model {model!r}; it may use "
                f"{', '.join(allowed)}",
                {"model": model, "models": ",".join(allowed)},
            )

    def priority(self, asked: int) -> int:
        """Return the priority of a request that asks for one; 0: for the default.

        Raises:
            PermissionDeniedError: it is more urgent than the key allows.

        """
        if asked == 0:
            return max(DEFAULT_PRIORITY, self.most_priority)
        if 1 <= asked < self.most_priority:
            raise PermissionDeniedError(
                "PRIORITY_NOT_ALLOWED",
                f"priority: the API key {self.name!r} may ask for {self.most_priority} or a larger "
                f"number, which is less urgent; got {asked}",
                {"priority": str(asked), "most_priority": str(self.most_priority)},
            )
        return asked


def anybody(*, is_local: bool) -> Account:
    """Return the account of a caller where there are no keys: one on this machine operates."""
    return Account(is_operator=is_local)
