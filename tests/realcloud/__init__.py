"""A real Keystone and a real Glance for the tests: from PyPI, on loopback and SQLite, without root or server packages.

`RealCloud` in `cloud` is the face. The virtual environment and the empty databases are built once and cached
(`workshop`); each test session copies the databases, writes its configuration (`configuration`), starts both services
under gunicorn (`process`, `serve`) and seeds them through Keystone's own API (`cloud`). The first session takes about
45 s to start, the next ones less than 10 s. Nothing is written outside the session's temporary directory and the
cache, and nothing survives the session, even when it is killed.
"""
