"""A picture is the same, to the bit, with any number of threads and on any CPU."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support import rendered_digest as rendered_digest_module
from support.rendered_digest import rendered_digest

from leyden_training.data import exact, render

DIGEST = "f14e9142f6ca7b589d0da7ba0f073199f3a7d8fb50eaf81648f0607504818c0a"
"""Of the pictures of `rendered_digest`. It changes when what is drawn changes, and then only."""

RENDERER = Path(render.__file__).parent
NOT_THE_PICTURE = {"captions.py", "dataset.py", "render_workers.py"}

# Exactly rounded by IEEE 754, or moving, choosing and counting what there is: the same everywhere.
ALLOWED_OF_NUMPY = """
    abs add arange argmin array asarray ascontiguousarray bincount bool_ broadcast_to ceil clip
    concatenate copyto cumsum empty flatnonzero float32 float64 floating floor frexp full full_like
    gradient inf int32 int64 intp isfinite ldexp linspace maximum median minimum ndarray ones
    ones_like pad random repeat rint roll sign sort sqrt square stack take uint8 where zeros
    zeros_like
"""


def without_vector_instructions() -> dict[str, str]:
    """Return the environment in which numpy and the C library use the oldest CPU's code."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"]
    return {
        "NPY_DISABLE_CPU_FEATURES": " ".join(extensions.get("found", [])),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX,-FMA,-FMA4",
    }


def test_pictures_are_those_that_this_version_makes() -> None:
    assert rendered_digest() == DIGEST


@pytest.mark.parametrize(
    "environment",
    [
        {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        {"OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"},
        without_vector_instructions(),
    ],
    ids=["one thread", "three threads", "no vector instructions"],
)
def test_neither_threads_nor_the_cpu_change_a_picture(environment: dict[str, str]) -> None:
    path = os.pathsep.join([str(RENDERER.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, rendered_digest_module.__file__],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == DIGEST


def sources() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(RENDERER.glob("*.py")):
        if path.name not in NOT_THE_PICTURE:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield path.name, node


def test_the_renderer_calls_nothing_that_a_cpu_may_round_its_own_way() -> None:
    wrong = []
    for name, node in sources():
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import) and any(part.name == "math" for part in node.names):
            wrong.append(f"{where}: math")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            wrong.append(f"{where}: @")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not plain_power(node):
            wrong.append(f"{where}: ** is exact for squares of arrays and for whole numbers alone")
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "np"
            and node.attr not in ALLOWED_OF_NUMPY.split()
        ):
            wrong.append(f"{where}: np.{node.attr}")
    assert not wrong, "leyden_training/data/exact.py says what to use instead:\n" + "\n".join(wrong)


def plain_power(node: ast.BinOp) -> bool:
    """Whether it is x**2 (numpy squares an array) or 2**n (a whole number)."""
    parts = (node.left, node.right)
    return any(isinstance(part, ast.Constant) and part.value == 2 for part in parts)


WIDE = {np.float32: 3e-7, np.float64: 1e-9}


@pytest.mark.parametrize("dtype", list(WIDE))
def test_exact_functions_are_near_the_true_ones(dtype: type[np.floating[Any]]) -> None:
    near = WIDE[dtype]

    def true(x: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.longdouble]:
        return x.astype(np.longdouble)

    x = np.linspace(-79, 80, 20001).astype(dtype)
    np.testing.assert_allclose(exact.exp(x), np.exp(true(x)), rtol=near)
    np.testing.assert_allclose(exact.tanh(x), np.tanh(true(x)), rtol=0, atol=near)
    assert 0 < float(exact.exp(np.array([-1e9], dtype))[0]) < 1e-34
    x = np.geomspace(1e-6, 1e6, 20001).astype(dtype)
    np.testing.assert_allclose(exact.log(x), np.log(true(x)), rtol=near, atol=near / 10)
    x = np.linspace(-9999, 9999, 20001).astype(dtype)
    np.testing.assert_allclose(exact.sin(x), np.sin(true(x)), rtol=0, atol=1e-7)
    np.testing.assert_allclose(exact.cos(x), np.cos(true(x)), rtol=0, atol=1e-7)
    x = np.array([0.5], dtype)
    assert {f(x).dtype for f in (exact.exp, exact.log, exact.sin, exact.cos, exact.tanh)} == {
        x.dtype
    }
    assert exact.direction(1.0) == pytest.approx((np.cos(1.0), np.sin(1.0)))


def test_normals_are_numpys_but_for_the_rounded_tail() -> None:
    drawn = exact.standard_normal(np.random.default_rng(0), (200, 1000))
    plain = np.random.default_rng(0).standard_normal((200, 1000), np.float32)
    far = np.abs(plain) > 3.65
    assert far.sum() > 20
    assert np.array_equal(drawn[~far], plain[~far])
    assert np.array_equal(drawn[far] * 64, np.rint(plain[far] * 64))
    assert drawn.dtype == np.float32
