"""How much of the accelerator's memory is in use."""

import math
import time

import torch

from leyden_server.stages.tally import DeviceMemory

__all__ = ["MemoryReading"]

PERIOD_S = 1.0
"""The driver is asked no more often."""


class MemoryReading:
    """The memory of one device, as it was within the last second."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._read_s = -math.inf
        self._memory: DeviceMemory | None = None

    def __call__(self) -> DeviceMemory | None:
        """Return it; None on a CPU."""
        if self._device.type != "cuda":
            return None
        now = time.monotonic()
        if now - self._read_s >= PERIOD_S:
            self._read_s = now
            free, total = torch.cuda.mem_get_info(self._device)
            reserved = torch.cuda.memory_reserved(self._device)
            self._memory = DeviceMemory(reserved, total - free, total)
        return self._memory
