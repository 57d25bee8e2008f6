"""Selectors: what to ask a cloud for, which of its images and projects are meant, and plans with IDs in their place.

A cloud's own filters only spare it work: what it answers is filtered again here, because some databases compare
without case, and the following pages of a list of images keep only one of several tags. `matching` knows what a
selector means, `plans` where selectors stand, `checks` which IDs are of no project. Must not know how a cloud is asked.
"""

from __future__ import annotations

from bulkshare.selection.checks import check_ids, project_ids
from bulkshare.selection.matching import image_query, select_images, select_projects
from bulkshare.selection.plans import Selectors, for_cloud, resolved, selectors
from bulkshare.selection.words import describe

__all__ = [
    "Selectors",
    "check_ids",
    "describe",
    "for_cloud",
    "image_query",
    "project_ids",
    "resolved",
    "select_images",
    "select_projects",
    "selectors",
]
