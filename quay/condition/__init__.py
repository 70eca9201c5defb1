"""
The condition that an installation is in, in sentences: what a running server shows to its superusers, and what `quay
doctor` says of it from outside. Everything here waits, for disks mostly, and changes nothing.
"""

from quay.condition.finding import Finding, State, fine, remarkable, unseen, wrong

__all__ = ["Finding", "State", "fine", "remarkable", "unseen", "wrong"]
