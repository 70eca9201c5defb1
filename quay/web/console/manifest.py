"""The page of a manifest: what it consists of, what is said of it, what refers to it, and its own text."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

from quay.model.attachment import attaching_tags, kind_of
from quay.oci.reference import RepositoryName
from quay.web.console.commands import Registry
from quay.web.console.page import Context, PageTable, View
from quay.web.console.tabs import listed, paged

pages = PageTable()

TEXT: Final = 200_000
"""Characters of a manifest that a page shows; the whole of it is at the API."""

LABELS: Final = 200
"""Labels that a page shows."""

CHILDREN: Final = 500
"""Children of an index, and layers of an image, that a page shows."""


@pages.page("/repository/<repository:repository>/manifest/<digest>", "console/manifest.html")
async def show(view: View, repository: RepositoryName, digest: str) -> Context:
    """A manifest, as far as the one who looks may see its repository."""
    path: Context = {"repository": repository, "manifestref": digest}
    found = await view.ask("getRepo", query={"includeTags": "false"}, repository=repository)
    manifest = await view.ask("getRepoManifest", **path)
    labels = (await view.ask("listManifestLabels", **path))["labels"]
    parsed, text = await view.in_background(_read, manifest["manifest_data"])
    full = str(repository)
    return {
        "repository": found | {"full": full, "home": f"/repository/{quote(full)}"},
        "manifest": manifest,
        "media_type": parsed.get("mediaType") or "",
        "path": {"repository": full, "manifestref": digest},
        "can_change": bool(found["can_write"] and found["state"] == "NORMAL"),
        "labels": labels[:LABELS],
        "hidden_labels": max(0, len(labels) - LABELS),
        "children": _children(parsed)[:CHILDREN] if manifest["is_manifest_list"] else [],
        "layers": [_layer(one) for one in manifest["layers"] or []][:CHILDREN],
        "attached": await _attached(view, repository, digest),
        "referrers": await _referrers(view, path),
        "text": text[:TEXT],
        "cut": len(text) > TEXT,
        "pulls": Registry.of(view).pulls(full, digest),
        "pulls_counted": await view.ask("getManifestPullStatistics", **path) if view.config.image_pull_stats else None,
    }


async def _attached(view: View, repository: RepositoryName, digest: str) -> list[Context]:
    """What cosign attaches to it by tags."""
    found = []
    for name, kind in attaching_tags(digest).items():
        query = {"specificTag": name, "onlyActiveTags": "true", "limit": "1"}
        for tag in (await view.ask("listRepoTags", query=query, repository=repository))["tags"]:
            found.append({"name": name, "kind": kind, "digest": tag["manifest_digest"]})
    return found


async def _referrers(view: View, path: Context) -> Context:
    if not view.config.referrers_api:
        return {"rows": [], "before": None, "after": None}
    found = await view.ask("listManifestReferrers", query=paged(view), **path)
    shown = [one | {"kind": kind_of(one["artifact_type"])} for one in found["referrers"]]
    return listed(view, shown, found)


def _read(text: str) -> tuple[dict[str, Any], str]:
    """The manifest, and its text as people read it."""
    parsed = json.loads(text)
    return parsed, json.dumps(parsed, indent=2, ensure_ascii=False)


def _layer(layer: Context) -> Context:
    return layer | {
        "said": " ".join(layer["command"] or []).removeprefix("/bin/sh -c ").removeprefix("#(nop) ").strip()
    }


def _children(index: dict[str, Any]) -> list[Context]:
    return [
        {
            "digest": one["digest"],
            "media_type": one.get("mediaType", ""),
            "size": one.get("size"),
            "platform": _platform(one.get("platform") or {}),
            "about": (one.get("annotations") or {}).get("vnd.docker.reference.type", ""),
        }
        for one in index.get("manifests") or []
    ]


def _platform(platform: dict[str, Any]) -> str:
    return "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if platform.get(key))
