"""`quay serve` with a second or two of patience for its clients, so that a test need not wait for theirs to end."""

from functools import partial

from quay.__main__ import main
from quay.service import appliance
from quay.web.connections import Limits

if __name__ == "__main__":
    appliance.Limits = partial(Limits, head_seconds=1, idle_seconds=2, body_seconds=1, linger_seconds=1)
    main()
