"""
What a pull finds without waiting: a token that has been verified, a tag and a manifest that are cached.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from quay.model.content import StoredManifest
from quay.model.repository import Repository
from quay.oci.errors import RegistryError
from quay.oci.reference import Digest, RepositoryName, Tag, parse_reference
from quay.registry import Registry
from quay.registry.caller import Caller
from quay.registry.manifests import is_acceptable
from quay.web.guard import Rights


@attrs.frozen
class Recalled:
    """A manifest that may be served as it is."""

    repository: Repository
    reference: Digest | Tag
    stored: StoredManifest


def recall(
    registry: Registry, known: tuple[Caller, Rights], spelled: str, argument: str, accepted: Sequence[str]
) -> Recalled | None:
    """
    The manifest `argument` of the repository that the client spells so, if all that it takes is known: `known` may
    pull it, and it is `accepted` as it is. None leaves the request to those who can wait.
    """
    try:
        name = RepositoryName.parse(spelled, registry.policy.library_namespace)
        reference = parse_reference(argument)
    except RegistryError:
        return None
    repository = registry.known(name)
    if repository is None or not known[1].allow_on(repository, spelled, "pull"):
        return None
    stored = registry.manifests.cached(repository, reference)
    if stored is None or not (isinstance(reference, Digest) or is_acceptable(accepted, stored.media_type)):
        return None
    return Recalled(repository, reference, stored)
