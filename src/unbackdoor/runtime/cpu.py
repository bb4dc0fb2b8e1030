"""Settings that make small networks fast on a CPU; each trades less than rounding for speed."""

from __future__ import annotations

import ctypes
import os
import sys

import torch
from torch import Tensor, nn

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_WITHOUT_BFLOAT16 = (
    "SSE41",
    "AVX",
    "AVX2",
    "AVX2_VNNI",
    "AVX2_VNNI_2",
    "AVX512_CORE",
    "AVX512_CORE_VNNI",
)
"""Values of oneDNN's ``ONEDNN_MAX_CPU_ISA`` up to which it only emulates bfloat16."""
LONGEST_SUM = 32_768
"""Products of bfloat16 that are summed at most on a CPU.

A layer that sums more of them can end the process without a word: with torch 2.13 (oneDNN 3.12), a
processor with AMX and one thread, oneDNN divides by zero where rows × inputs are 1,572,864 in a
layer of 49,152 inputs or more (32 rows of those, 24 of 65,536, 12 of 131,072), and never did so for
1 to 600 rows of 16,384 or 32,768. Where it does depends on the processor's caches.
"""


def prepare(threads: int | None = None) -> None:
    """Set the threads, flush denormals, and let glibc keep freed activations for the next step.

    By default glibc returns every large block to the kernel, and each step of a network pays for
    the page faults again: keeping them gave ResNet-20 15 to 20 % more images a second.

    Args:
        threads: threads within one operation; PyTorch's own choice when left out.

    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        try:
            mallopt = ctypes.CDLL("libc.so.6").mallopt
        except (OSError, AttributeError):
            return
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, 1 << 30)


def half_precision_pays(device: torch.device, network: nn.Module) -> bool:
    """Return whether bfloat16 beats float32: on a GPU, or a CPU that has it in hardware.

    A processor that has it may be told to do without by ``ONEDNN_MAX_CPU_ISA``. On no processor
    is it used for a network with sums of more than :data:`LONGEST_SUM` products.
    """
    if device.type == "cpu":
        if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BFLOAT16:
            return False
        supported = torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
        return supported and not _sums_long(network)
    return device.type == "cuda"


def _sums_long(network: nn.Module) -> bool:
    """Return whether a layer sums more products than oneDNN takes safely."""
    tensors = [*network.parameters(), *network.buffers()]
    return any(_products(tensor) > LONGEST_SUM for tensor in tensors)


def _products(weight: Tensor) -> int:
    """Return how many products a layer with this weight sums for each of its outputs, at most.

    A matrix may lie either way round, as graphs of ONNX have it.
    """
    if weight.ndim < 2 or not weight.numel():
        return 0
    each = weight.numel() // len(weight)
    return max(each, len(weight)) if weight.ndim == 2 else each
