"""The limit that rates are compared with: what the device's fused multiply-adds allow, measured."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

SLOTS_PER_PIXEL_STEP = 87
"""Arithmetic instructions of one pixel-step of a brick-shaped crystal: three Miller indices, their roundings, six sines, a division
and the amplitude. A rate is compared with (lane-FMA/s) / 87."""
MEASURED_S = 0.3
"""Length of one measurement of the peak: the cores are awake and the threads run side by side, and a GPU has its full clock."""
CUDA_CHAIN, CUDA_CHAINS = 256, 2**25
"""Multiply-adds of a chain on a GPU, and how many chains: reading and writing their ends takes about a quarter of the time of the
arithmetic. Longer ones take too long to compile."""
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}


def cpu_fma_per_s(dtype: str, threads: int) -> float:
    """Lane-FMA/s of `threads` cores together, for float32 or float64."""
    function, lanes = _fma(dtype)
    together = threading.Barrier(threads)

    def rate(_: int) -> float:
        turns, seconds = 100_000, 0.0
        while seconds < MEASURED_S / 4:  # this warms the core, too
            turns *= 2
            instructions, seconds = _timed(function, turns)
        together.wait()
        instructions, seconds = _timed(function, 4 * turns)
        return instructions / seconds

    with ThreadPoolExecutor(threads) as pool:
        return lanes * sum(pool.map(rate, range(threads)))


def _timed(function: Callable[[int], int], turns: int) -> tuple[int, float]:
    started = time.perf_counter()
    instructions = function(turns)
    return instructions, time.perf_counter() - started


def vector_fma_per_cycle() -> float | None:
    """Vector FMAs a clock cycle of one core, the check of the peak (2 on most cores); None where cycles cannot be counted."""
    counter = _cycle_counter()
    if counter is None:
        return None
    function, _ = _fma("float32")
    try:
        before = _read(counter)
        instructions = function(10_000_000)
        cycles = _read(counter) - before
    finally:
        os.close(counter)
    return instructions / cycles if cycles else None


def cuda_fma_per_s(dtype: str) -> float:
    """Lane-FMA/s of the CUDA device: a compiled function of long chains over many elements."""
    import torch

    kind = torch.float64 if dtype == "float64" else torch.float32

    def chains(values: torch.Tensor) -> torch.Tensor:
        for _ in range(CUDA_CHAIN):
            values = values * 0.999999 + 1e-6
        return values

    compiled = torch.compile(chains, fullgraph=True)
    values = torch.full((CUDA_CHAINS,), 0.5, dtype=kind, device="cuda")

    def seconds(calls: int) -> float:
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(calls):
            compiled(values)
        torch.cuda.synchronize()
        return time.perf_counter() - started

    seconds(1)  # compiles
    calls = 1
    while seconds(calls) < MEASURED_S / 4:
        calls *= 2
    return 4 * calls * CUDA_CHAIN * CUDA_CHAINS / seconds(4 * calls)


def _fma(dtype: str) -> tuple[Callable[[int], int], int]:
    from nbdist.kernels.native.sources import peak_source
    from nbdist.native.build import load

    library = load(peak_source()).code
    function = getattr(library, f"nbdist_fma_{dtype}")
    function.restype, function.argtypes = ctypes.c_int64, [ctypes.c_int64, ctypes.c_void_p]
    library.nbdist_vector_bytes.restype = ctypes.c_int64
    total = ctypes.c_double()
    return lambda turns: int(function(turns, ctypes.byref(total))), library.nbdist_vector_bytes() // (
        8 if dtype == "float64" else 4
    )


def _cycle_counter() -> int | None:
    """A file that counts this thread's clock cycles (Linux perf_event_open), or None where the machine has none to give."""
    number = PERF_EVENT_OPEN.get(os.uname().machine)
    if number is None or os.uname().sysname != "Linux":
        return None
    size = 128
    hardware, cycles, user_only = 0, 0, 0b1100000  # the bits leave out the kernel and the hypervisor
    attributes = struct.pack("=IIQQQQQ", hardware, size, cycles, 0, 0, 0, user_only).ljust(size, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    counter = libc.syscall(number, ctypes.c_char_p(attributes), 0, -1, -1, 0)
    return counter if counter >= 0 else None


def _read(counter: int) -> int:
    return int(struct.unpack("=Q", os.read(counter, 8))[0])
