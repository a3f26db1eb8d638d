"""Which of its tensors a Triton kernel loads and which it stores, read off its source.

A pointer is followed from the kernel's parameter through the names that are made of it to the
`tl.load` or `tl.store` that it ends in. Branches that a launch's compiled-in arguments rule out
do not count.
"""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["Passes", "passes_of"]

Origins = dict[str, frozenset[str]]
"""By a name of the source: the kernel's parameters that it was made of."""


@dataclass(slots=True)
class Passes:
    """Names of parameters."""

    loaded: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)


def passes_of(kernel: Any, arguments: Mapping[str, Any]) -> Passes:
    """Return what `kernel`, a function under `triton.jit`, does when launched so.

    `arguments` are those of the launch by name; the ones that are no tensors decide branches.

    Raises:
        NotImplementedError: it multiplies matrices, and its bytes would be the smaller part.

    """
    passes = Passes()
    origins: Origins = {
        name: frozenset({name})
        for name, value in arguments.items()
        if isinstance(value, torch.Tensor)
    }
    _Reader(kernel, dict(arguments), origins, passes).read()
    return passes


class _Reader(ast.NodeVisitor):
    """Goes through one function's source in its order."""

    def __init__(
        self, kernel: Any, arguments: dict[str, Any], origins: Origins, passes: Passes
    ) -> None:
        self._function = kernel.fn
        self._arguments = arguments
        self._origins = origins
        self._passes = passes

    def read(self) -> None:
        source = textwrap.dedent(inspect.getsource(self._function))
        (function,) = ast.parse(source).body
        assert isinstance(function, ast.FunctionDef)
        # Twice: within a loop a name may stand before it is made.
        for _ in range(2):
            for statement in function.body:
                self.visit(statement)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        taken = self._decided(node.test)
        branches = {None: node.body + node.orelse, True: node.body, False: node.orelse}
        for statement in branches[taken]:
            self.visit(statement)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._made(target, self._origin(node.value))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        self._made(node.target, self._origin(node.target) | self._origin(node.value))

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        match node.func:
            case ast.Attribute(attr="load"):
                self._passes.loaded |= self._origin(node.args[0])
            case ast.Attribute(attr="store"):
                self._passes.stored |= self._origin(node.args[0])
            case ast.Attribute(attr="dot"):
                raise NotImplementedError(
                    f"{self._function.__name__} multiplies matrices, which is not counted here"
                )
            case ast.Attribute(attr=str() as name) if name.startswith("atomic_"):
                self._passes.loaded |= self._origin(node.args[0])
                self._passes.stored |= self._origin(node.args[0])
            case ast.Name(id=name) if hasattr(self._function.__globals__.get(name), "fn"):
                self._enter(self._function.__globals__[name], node)

    def _enter(self, helper: Any, node: ast.Call) -> None:
        """Read a function that this one calls, with what it is given."""
        parameters = list(inspect.signature(helper.fn).parameters)
        given = dict(zip(parameters, node.args, strict=False))
        given |= {one.arg: one.value for one in node.keywords if one.arg is not None}
        _Reader(
            helper,
            {
                name: self._arguments[value.id]
                for name, value in given.items()
                if isinstance(value, ast.Name) and value.id in self._arguments
            },
            {name: self._origin(value) for name, value in given.items()},
            self._passes,
        ).read()

    def _made(self, target: ast.expr, origin: frozenset[str]) -> None:
        for name in ast.walk(target):
            if isinstance(name, ast.Name):
                self._origins[name.id] = origin

    def _origin(self, expression: ast.expr) -> frozenset[str]:
        """Return what an expression was made of; a value that was loaded is nobody's pointer."""
        match expression:
            case ast.Name(id=name):
                return self._origins.get(name, frozenset())
            case ast.Call(func=ast.Attribute(attr="load")):
                return frozenset()
        parts = (one for one in ast.iter_child_nodes(expression) if isinstance(one, ast.expr))
        return frozenset().union(*map(self._origin, parts))

    def _decided(self, test: ast.expr) -> bool | None:
        """Return how a test of compiled-in arguments comes out; None: of something else."""
        names = {one.id for one in ast.walk(test) if isinstance(one, ast.Name)}
        plain = {name: self._arguments.get(name, self) for name in names}
        if not all(isinstance(value, int | float | str | None) for value in plain.values()):
            return None
        source = compile(ast.Expression(test), "<test>", "eval")
        return bool(eval(source, {"__builtins__": {}}, plain))
