"""Bulk sharing of OpenStack images: a plan says who may use which image; a run makes the cloud agree."""

__version__ = "0.1.0"
