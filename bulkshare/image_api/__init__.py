"""The image API as data: requests, and what answers mean. Pure."""
