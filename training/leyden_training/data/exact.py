"""Functions whose results are the same, to the last bit, on every CPU and with any threads.

A picture is named by its scene and seed, so two machines must make the same one. BLAS sums in an
order that depends on its threads and kernels; numpy's and libm's `exp`, `log`, `sin`, `power` and
`tanh` come in variants for each instruction set, which differ in the last bit. What IEEE 754
rounds correctly (+, -, *, /, sqrt, floor) and numpy does one operation at a time does not
differ, so everything here is made of that alone. Nothing else in the renderer may call one of
numpy's transcendental functions, `@` or `np.linalg`; a test reads the sources.

Results keep the dtype of their argument, float32 or float64. A relative error is below 3e-7 in
float32 and 1e-9 in float64, where nothing else is said.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

_LOG_2 = 0.6931471805599453
_LOG_2_HIGH = 0.693359375  # 9 bits: its product with a whole number is exact in float32
_LOG_2_LOW = -2.12194440054690583e-4
_PI = 3.141592653589793
_EXP_FACTORS = tuple(1 / factor for factor in (40320, 5040, 720, 120, 24, 6, 2, 1, 1))
_SIN_FACTORS = (
    -1 / 1307674368000,
    1 / 6227020800,
    -1 / 39916800,
    1 / 362880,
    -1 / 5040,
    1 / 120,
    -1 / 6,
    1.0,
)
_LOG_FACTORS = tuple(2 / odd for odd in (15, 13, 11, 9, 7, 5, 3, 1))
_SMALLEST_POWER = -80.0
_ZIGGURAT_EDGE = 3.65  # numpy takes normals beyond 3.654 from log1p, the others from a table
_TAIL_GRID = 64


def _polynomial(factors: tuple[float, ...], x: Array) -> Array:
    """Return the polynomial with `factors`, the highest power's first, at `x`."""
    total = np.full_like(x, factors[0])
    for factor in factors[1:]:
        total *= x
        total += factor
    return total


def exp(x: Array | float) -> Array:
    """Return e to the power `x`; below -80 it is that of -80, 2e-35."""
    x = np.maximum(x, _SMALLEST_POWER)
    whole = np.rint(x * (1 / _LOG_2))
    rest = (x - whole * _LOG_2_HIGH) - whole * _LOG_2_LOW
    result: Array = np.ldexp(_polynomial(_EXP_FACTORS, rest), whole.astype(np.int32))
    return result


def log(x: Array) -> Array:
    """Return the natural logarithm of `x` > 0."""
    mantissa, power = np.frexp(x)
    small = mantissa < np.sqrt(0.5)
    mantissa = np.where(small, mantissa * 2, mantissa)
    power = (power - small).astype(x.dtype)
    share = (mantissa - 1) / (mantissa + 1)
    result: Array = power * _LOG_2 + share * _polynomial(_LOG_FACTORS, share * share)
    return result


def sin(x: Array) -> Array:
    """Return the sine of `x` in radians, |x| < 10,000; the absolute error is below 1e-7."""
    wide = x.astype(np.float64)
    turns = np.rint(wide * (1 / _PI))
    rest = wide - turns * _PI
    sign = 1 - 2 * (turns % 2)
    result: Array = (sign * rest * _polynomial(_SIN_FACTORS, rest * rest)).astype(x.dtype)
    return result


def cos(x: Array) -> Array:
    """Return the cosine of `x` in radians, |x| < 10,000; the absolute error is below 1e-7."""
    return sin(x.astype(np.float64) + _PI / 2).astype(x.dtype)


def direction(angle: float) -> tuple[float, float]:
    """Return (cosine, sine) of one angle in radians."""
    place = np.array([angle])
    return float(cos(place)[0]), float(sin(place)[0])


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent of `x`; the absolute error is below 3e-7."""
    result: Array = 1 - 2 / (exp(2 * np.minimum(x, 20)) + 1)
    return result


def hypot(x: Array | float, y: Array | float) -> Array:
    """Return the square root of x² + y²."""
    result: Array = np.sqrt(x * x + y * y)
    return result


def standard_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return float32 draws of unit deviation.

    The few that numpy takes from a logarithm, beyond 3.65, are rounded to 1/64: the last bit of
    that logarithm depends on the C library.
    """
    drawn = rng.standard_normal(shape, np.float32)
    result: Array = np.where(
        np.abs(drawn) > _ZIGGURAT_EDGE, np.rint(drawn * _TAIL_GRID) / np.float32(_TAIL_GRID), drawn
    )
    return result
