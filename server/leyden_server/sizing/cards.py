"""The cards of a design, the nodes they are in, and whose places on them are free."""

from collections import deque

from leyden_server.sizing.card import Card
from leyden_server.sizing.design import STAGES, Design

__all__ = ["Cards"]


class Cards:
    """As a cluster has them whose groups of nodes are for denoisers, or for the two other stages.

    Or, together, each card has a place for one replica of each stage.
    """

    def __init__(self, design: Design) -> None:
        counts = {name: replicas.most for name, replicas in design.replicas.items()}
        if design.together:
            groups = {"together": max(counts.values())}
            group_of = dict.fromkeys(STAGES, "together")
        else:
            groups = {"denoiser": counts["denoiser"], "vae": counts["vae"]}
            group_of = {"text_encoder": "vae", "denoiser": "denoiser", "vae": "vae"}
        self._groups = {
            group: [Card(f"{group} {number}") for number in range(count)]
            for group, count in groups.items()
        }
        self._free = {stage: deque(self._groups[group]) for stage, group in group_of.items()}
        self._per_node = design.gpus_per_node

    @property
    def all(self) -> list[Card]:
        """Every card."""
        return [card for group in self._groups.values() for card in group]

    def take(self, stage: str) -> Card | None:
        """Return a card with a free place for a stage; None: there is none."""
        free = self._free[stage]
        for _ in range(len(free)):
            card = free.popleft()
            if not card.is_lost:
                return card
            free.append(card)
        return None

    def give(self, stage: str, card: Card) -> None:
        """Take a place back."""
        self._free[stage].append(card)

    def node(self) -> set[Card]:
        """Return the cards of a node: of the denoisers', where they have their own."""
        group = next(iter(self._groups.values()))
        return set(group[: self._per_node])
