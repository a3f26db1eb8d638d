"""C++: the CMake target `leyden::client`. Its stubs are made as it is built, and not committed."""

import shutil
import subprocess
import sys
from pathlib import Path

from clients.languages.language import ROOT, Command, Language, Tool

__all__ = ["LANGUAGE"]

_SOURCE = ROOT / "client" / "cpp"
_CLANG_FORMAT = str(Path(sys.executable).with_name("clang-format"))
"""The environment's own: each release lays some lines out otherwise than the one before."""
_BUILD = ROOT / "build" / "clients" / "cpp"
_SOURCES = sorted(
    str(path.relative_to(_SOURCE)) for kind in ("*.hpp", "*.cpp") for path in _SOURCE.rglob(kind)
)


def _library(name: str, *debian_packages: str) -> Tool:
    """Return a library that pkg-config knows; pkg-config itself is the program that is needed."""

    def works() -> bool:
        asked = ["pkg-config", "--exists", name]
        return (
            bool(shutil.which("pkg-config")) and subprocess.run(asked, check=False).returncode == 0
        )

    return Tool("pkg-config", ["pkg-config", *debian_packages], works)


LANGUAGE = Language(
    name="cpp",
    title="C++",
    tools=[
        Tool("g++", ["g++"]),
        Tool("cmake", ["cmake"]),
        Tool("ninja", ["ninja-build"]),
        Tool("protoc", ["protobuf-compiler"]),
        Tool("grpc_cpp_plugin", ["protobuf-compiler-grpc"]),
        Tool("doxygen", ["doxygen"]),
        _library("grpc++", "libgrpc++-dev"),
        _library("protobuf", "libprotobuf-dev"),
        _library("gtest", "libgtest-dev"),
        _library("nlohmann_json", "nlohmann-json3-dev"),
    ],
    build=[
        Command(
            "C++ configuration (cmake)",
            [
                "cmake",
                "-S",
                str(_SOURCE),
                "-B",
                str(_BUILD),
                "-G",
                "Ninja",
                "-DLEYDEN_BUILD_DOCS=ON",
            ],
        ),
        Command("C++ build (ninja)", ["cmake", "--build", str(_BUILD), "--parallel", "2"]),
    ],
    runner=Command("C++ runner", [str(_BUILD / "tests" / "runner" / "leyden-runner")]),
    lint=[
        Command(
            "C++ format (clang-format)",
            [_CLANG_FORMAT, "--dry-run", "--Werror", *_SOURCES],
            folder=_SOURCE,
        ),
    ],
    lint_tools=[Tool(_CLANG_FORMAT)],
    tests=[
        Command("C++ tests (ctest)", ["ctest", "--test-dir", str(_BUILD), "--output-on-failure"]),
        Command(
            "C++ documentation (Doxygen)", ["cmake", "--build", str(_BUILD), "-t", "leyden-docs"]
        ),
    ],
    compile_time=frozenset({"misspelt field"}),
)
