"""Blobs in a folder or in an object store."""

from stores.objects.store import ObjectBlobs, check_url

__all__ = ["ObjectBlobs", "check_url"]
