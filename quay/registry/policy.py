"""What the administrator decided about pushes and pulls: the part of the configuration that the registry obeys."""

from __future__ import annotations

import attrs

from quay.oci.labels import expires_after


@attrs.frozen(kw_only=True)
class Policy:
    """Durations in seconds, sizes in bytes."""

    read_only: bool = False
    """The whole registry takes pulls only."""
    anonymous_pulls: bool = True
    library_namespace: str | None = "library"
    """Where a repository without a namespace lies; None refuses such names."""
    nested_names: bool = True
    """Repository names may have more than two segments."""
    private_on_push: bool = True
    namespace_on_push: bool = False
    """A user's first push to an unknown namespace makes an organization of that name."""
    public_catalog: bool = False
    """The catalog also lists public repositories the caller has no role in."""
    sparse_index: bool = True
    """An index may name manifests that the repository does not have."""
    referrers: bool = True
    blob_limit: int = 20 * 1024**3
    page_size: int = 100
    page_limit: int = 1000
    time_machine_s: int = 14 * 86400
    """For namespaces made from now on."""
    untagged_s: int = 3600
    """How long a manifest pushed by digest alone is kept, unless an index or a subject keeps it."""
    upload_s: int = 2 * 86400
    """How long an unfinished upload is kept, and a finished blob that no manifest names yet."""
    grace_s: int = 3600
    """How long a repository keeps the blobs of a manifest that was collected: somebody may just have seen them."""
    shortest_life_s: int = 3600
    longest_life_s: int = 104 * 7 * 86400
    """What the label `quay.expires-after` can give a tag."""
    super_users: frozenset[str] = frozenset()
    robots: frozenset[str] | None = None
    """The names of the only robots that there may be; None: all may."""
    organizations_by_superusers: bool = False
    """Nobody else may make one, by a push neither."""

    def allows_robot(self, name: str) -> bool:
        """Whether there may be a robot of this name, `owner+short`."""
        return self.robots is None or name in self.robots

    def life(self, label: str) -> int | None:
        """For how many seconds a tag lives that names a manifest with this `quay.expires-after`; None: it says none."""
        seconds = expires_after(label)
        return None if seconds is None else min(max(seconds, self.shortest_life_s), self.longest_life_s)
