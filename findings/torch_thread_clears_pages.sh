#!/bin/sh
# torch 2.13.0 on a CPU under glibc (2.36), diffusers 0.42.1: what keeps freed memory does less in a thread.
#
# Documented (mallopt(3)): blocks above M_MMAP_THRESHOLD are mapped, and given back when they are
# freed; with that and M_TRIM_THRESHOLD set high, freed memory is kept and had again. torch's tensors
# are such blocks, so a VAE decode has its pages cleared by the kernel at each layer.
# Seen, of diffusers' AutoencoderKL in SDXL's layout with 32 and 64 channels, new pages of a 576 x 576
# px decode after sixteen others: some 400,000 as it is; with both set, next to none in the main thread
# and 175,000 in any other, where servers run their models. There a heap is pieces of 64 MiB (HEAP_MAX_SIZE in
# malloc/arena.c), a larger block is mapped whatever is set, and a piece that is free goes back. With
# MALLOC_ARENA_MAX=1 besides, threads have the main thread's heap, and have next to none either.
#
# Huge pages are off here, of which one counts for 512. Runs in a folder of its own, in three
# minutes. Fails if another behaviour is seen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'torch==2.13.0' 'diffusers==0.42.1'
cat > "$folder/finding.py" <<'PYTHON'
import ctypes
import platform
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import diffusers
import torch
from diffusers import AutoencoderKL

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE


@torch.inference_mode()
def decode_pages():
    """Return a decode's new pages and milliseconds, once sixteen have been before it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(32, 64, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
    ).eval()
    latents = torch.randn(1, 4, 72, 72)
    for _ in range(16):
        vae.decode(latents)
    pages, started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    for _ in range(3):
        vae.decode(latents)
    new = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - pages
    return new // 3, round((time.perf_counter() - started) / 3 * 1000)


in_thread = sys.argv[1] == "thread"
new, took_ms = ThreadPoolExecutor(1).submit(decode_pages).result() if in_thread else decode_pages()
versions = [f"torch {torch.__version__}", f"diffusers {diffusers.__version__}"]
print(", ".join([*versions, " ".join(platform.libc_ver())]), end=": ")
print(f"{sys.argv[2]}, in {'another' if in_thread else 'the main'} thread: ", end="")
print(f"{new} new pages and {took_ms} ms a decode")
few, many = 20_000, 50_000
assert (new > many) if sys.argv[3] == "many" else (new < few), "freed memory is kept otherwise now"
PYTHON
see() {
  where=$1 what=$2 expected=$3
  shift 3
  env -u MALLOC_ARENA_MAX "$@" "$folder/venv/bin/python" "$folder/finding.py" "$where" "$what" "$expected" \
    2>"$folder/log" || { cat "$folder/log" >&2; exit 1; }
}
both="MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=2147483647"
see main "as it is" many
see main "both thresholds" few $both
see thread "both thresholds" many $both
see thread "both, and one arena" few $both MALLOC_ARENA_MAX=1
