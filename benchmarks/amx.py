"""AMX: what Linux lets a process use, and how to have it refused.

Its tiles are a state of the CPU that Linux grants to a process that asks: arch_prctl(2). Libraries
ask when they are loaded, and do without where it is refused. No Fortran compiler emits AMX: with
``--without-amx`` everybody has the same instructions.
"""

import ctypes
import platform

ARCH_PRCTL, SUPPORTED, GRANTED, TILES = 158, 0x1021, 0x1022, 1 << 18
# Of an alternative stack for signals: AVX-512 fits, AMX does not.
STACK_BYTES = 8192


class _Stack(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


_room = ctypes.create_string_buffer(STACK_BYTES)


def amx() -> str:
    """Return "absent", "used" if a library of this process has asked for it, or "not used"."""
    if not _has_tiles(SUPPORTED):
        return "absent"
    return "used" if _has_tiles(GRANTED) else "not used"


def refuse_amx() -> None:
    """Have Linux refuse AMX to all libraries that this process loads from now on.

    It does while some thread has an alternative stack on which the larger registers of a signal
    would not fit.
    """
    stack = _Stack(ctypes.addressof(_room), 0, STACK_BYTES)
    if ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None):
        raise OSError("AMX cannot be refused: sigaltstack failed, some library may use it already")


def _has_tiles(question: int) -> bool:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    answer = ctypes.c_uint64()
    failed = ctypes.CDLL(None).syscall(ARCH_PRCTL, ctypes.c_long(question), ctypes.byref(answer))
    return not failed and bool(answer.value & TILES)
