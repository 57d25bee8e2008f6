"""Who can log in to the clouds that tests use."""

from __future__ import annotations

from typing import NamedTuple


class User(NamedTuple):
    """Somebody who can log in, and the project and role that they have."""

    name: str
    password: str
    project: str
    role: str


ADMIN = User("admin", "adminpw", "admin", "admin")
ALICE = User("alice", "alicepw", "tenant-01", "member")
BOB = User("bob", "bobpw", "tenant-02", "member")
RITA = User("rita", "ritapw", "tenant-01", "reader")
USERS = {user.name: user for user in (ADMIN, ALICE, BOB, RITA)}
