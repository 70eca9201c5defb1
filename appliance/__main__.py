"""The installed `quay` command, `python -m appliance` and the frozen binary: a server, and the machine it stands on."""

from __future__ import annotations

import os

from appliance.cli import quay


def main() -> None:
    """Run the command and exit with its status."""
    quay(obj=os.environ, prog_name="quay")


if __name__ == "__main__":
    main()
