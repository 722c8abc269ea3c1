"""What the Hub's cache on this machine holds."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CachedModel:
    """A repository of which files were fetched."""

    model: str
    size_bytes: int
    commits: tuple[str, ...]  # the last used one first


def cached_models() -> list[CachedModel]:
    """All models in the cache, by name; none where huggingface_hub is not installed or nothing was fetched."""
    try:
        from huggingface_hub import scan_cache_dir
        from huggingface_hub.errors import CacheNotFound
    except ImportError:
        return []
    try:
        found = scan_cache_dir()
    except CacheNotFound:
        return []
    models = [
        CachedModel(
            model=repository.repo_id,
            size_bytes=repository.size_on_disk,
            commits=tuple(
                revision.commit_hash
                for revision in sorted(repository.revisions, key=lambda each: each.last_modified, reverse=True)
            ),
        )
        for repository in found.repos
        if repository.repo_type == "model"
    ]
    return sorted(models, key=lambda each: each.model)
