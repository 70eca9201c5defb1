"""
Asking the kernel to begin to write a file to its disk, without waiting for it and without any promise.

Source: Linux, sync_file_range(2), `SYNC_FILE_RANGE_WRITE`, which Python does not have.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

WRITE: Final = 2

_sync_file_range: Any
try:
    _sync_file_range = ctypes.CDLL(None, use_errno=True).sync_file_range
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
except (AttributeError, OSError):  # another system, or a libc without it: then all of it is written at the end
    _sync_file_range = None


def start_writeback(fd: int, offset: int, count: int) -> None:
    """
    Begin to write these bytes of the file, and close `fd`; in a thread, since a disk with a full queue makes it wait.
    What goes wrong is for fsync to tell.
    """
    try:
        if _sync_file_range is not None:
            _sync_file_range(fd, offset, count, WRITE)
    finally:
        os.close(fd)
