"""`python -m quay`, the server without its machine: the environment of the process goes in here."""

from __future__ import annotations

import os

from quay.cli import quay


def main() -> None:
    """Run the command and exit with its status."""
    quay(obj=os.environ, prog_name="quay")


if __name__ == "__main__":
    main()
