"""The folder store: CARs, pin files, and an index that is only a cache."""

from pinfold.store.folder.store import FolderStore

__all__ = ["FolderStore"]
