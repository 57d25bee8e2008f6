"""A real Keystone and a real Glance for the tests: from PyPI, on loopback and SQLite, without root or server packages.

`RealCloud` in `cloud` is the entry point. The virtual environment and the empty databases are built once and cached
(`installation`). Each test session copies the databases, writes its configuration (`configuration`), starts both
services under gunicorn (`process`, `serve`) and seeds them through Keystone's API (`cloud`). The first session takes
about 45 s to start, later ones less than 10 s. Nothing is written outside the session's temporary directory and the
cache, and no process outlives the session, even if it is killed.
"""
