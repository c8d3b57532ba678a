"""`clean-cache`: forget what the present sources do not need, and all built images."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from cluster import base, binaries, buildah, cache


def clean() -> Iterator[Path]:
    """Remove old builds and buildah's store; yield what goes."""
    wanted = {*binaries.current_folders(), base.folder()}
    root = cache.root()
    old = [path for kind in ("bin", "base") for path in (root / kind).glob("*")]
    for path in [*(path for path in old if path not in wanted), buildah.store()]:
        if path.exists():
            yield path
            shutil.rmtree(path)
    # What buildah knows about the store is wrong now.
    shutil.rmtree(buildah.RUN_ROOT, ignore_errors=True)
