"""What a model's thread frees stays with the process, and is given back where it is asked for."""

import json
import os
import subprocess
import sys

import pytest
from support.patience import PATIENCE_S

IN_A_THREAD = """
import ctypes, json, os, resource, sys, threading
from concurrent.futures import ThreadPoolExecutor
import torch
from leyden_server.accelerator.host_memory import (
    keep_freed_memory, model_thread, return_freed_memory
)

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages are counted one by one
PAGE = os.sysconf("SC_PAGE_SIZE")
FLOATS = 100 * 2**20 // 4

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * PAGE

def faults(runs):
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(runs):
        torch.ones(FLOATS)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun) / runs

# Each has a heap of its own, as in a process that was busy before.
others = ThreadPoolExecutor(4)
met = threading.Barrier(4)
list(others.map(lambda _: (met.wait(), torch.ones(FLOATS))[0], range(4)))

is_kept = keep_freed_memory() if sys.argv[1] == "keep" else False
if is_kept:
    thread = model_thread("torch", lambda: torch.set_num_threads(1))
else:
    thread = ThreadPoolExecutor(1, "torch", torch.set_num_threads, (1,))
thread.submit(faults, 20).result()
found = thread.submit(faults, 10).result()
before = resident()
return_freed_memory()
print(json.dumps([is_kept, found / (FLOATS * 4 / PAGE), before - resident()]))
"""
"""Prints whether memory is kept, the part of a 100 MiB tensor's pages that is new to each, and the
bytes that were given back."""

needs_glibc = pytest.mark.skipif(
    "CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="malloc is glibc's alone to set"
)


def in_a_thread(keep: str, **environment: str) -> tuple[bool, float, int]:
    inherited = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    inherited.pop("GLIBC_TUNABLES", None)
    done = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD, keep],
        env=inherited | {"CUDA_VISIBLE_DEVICES": ""} | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    is_kept, new_pages, given_back = json.loads(done.stdout)
    return is_kept, new_pages, given_back


@needs_glibc
def test_what_is_freed_is_kept_and_given_back_when_asked() -> None:
    _, without, _ = in_a_thread("leave")
    assert without > 0.9  # else there is nothing to win
    is_kept, new_pages, given_back = in_a_thread("keep")
    assert is_kept
    assert new_pages < 0.01
    assert given_back > 90 * 2**20


@needs_glibc
@pytest.mark.parametrize(
    "setting",
    [
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_what_the_operator_has_set_stays(setting: dict[str, str]) -> None:
    is_kept, new_pages, _ = in_a_thread("keep", **setting)
    assert not is_kept
    assert new_pages > 0.9
