"""Kubernetes' quantities, such as 500m, 16 and 4Gi, as numbers."""

from decimal import Decimal

__all__ = ["amount"]

_SUFFIXES = {"m": Decimal("0.001"), "k": Decimal(10) ** 3, "M": Decimal(10) ** 6}
_SUFFIXES |= {"G": Decimal(10) ** 9, "T": Decimal(10) ** 12}
_SUFFIXES |= {f"{letter}i": Decimal(1024) ** n for n, letter in enumerate("KMGT", start=1)}


def amount(quantity: str) -> Decimal:
    """Return what a quantity says."""
    digits = quantity.rstrip("mkKMGTi")
    suffix = quantity.removeprefix(digits)
    return Decimal(digits) * (_SUFFIXES[suffix] if suffix else 1)
