"""The users of the clouds that tests use."""

from __future__ import annotations

from typing import NamedTuple


class User(NamedTuple):
    """A user, with their project and their role in it."""

    name: str
    password: str
    project: str
    role: str


ADMIN = User("admin", "adminpw", "admin", "admin")
ALICE = User("alice", "alicepw", "tenant-01", "member")
BOB = User("bob", "bobpw", "tenant-02", "member")
RITA = User("rita", "ritapw", "tenant-01", "reader")
USERS = {user.name: user for user in (ADMIN, ALICE, BOB, RITA)}
