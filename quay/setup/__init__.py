"""
Setting a registry up: what the administrator is asked, whether his answers will do, and what is made of them.

The console and `quay setup --answers` ask the same questions, and everything is judged here, before it is accepted: a
database by connecting to it, a directory by writing to it, a certificate by its key. What comes of it is a
configuration file, certificates in the data directory, and the first administrator. Nothing here knows HTTP or the
reactor; what waits says so.
"""

from quay.setup.answers import Administrator, AnswersWrong, Keeping, Names, read_answers
from quay.setup.certificates import CertificateFiles
from quay.setup.kept import Kept
from quay.setup.plan import Plan, plan
from quay.setup.steps import Refused, Steps

__all__ = [
    "Administrator",
    "AnswersWrong",
    "CertificateFiles",
    "Keeping",
    "Kept",
    "Names",
    "Plan",
    "Refused",
    "Steps",
    "plan",
    "read_answers",
]
