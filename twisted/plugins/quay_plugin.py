"""Tells twistd about `twistd quay`."""

from quay.service import quay

__all__ = ["quay"]
