"""
Runs in the frozen program before anything else: whom it starts (pg_dump, systemctl) finds the libraries of the machine.

PyInstaller's loader points LD_LIBRARY_PATH at the program's own libraries, and keeps what it was in another variable.
This process has read it already; those that it starts would load our libraries into programs made for others.
"""

import os

if "LD_LIBRARY_PATH_ORIG" in os.environ:
    os.environ["LD_LIBRARY_PATH"] = os.environ.pop("LD_LIBRARY_PATH_ORIG")
else:
    os.environ.pop("LD_LIBRARY_PATH", None)
