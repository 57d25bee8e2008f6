"""Credentials, encrypted for one worker: X25519, HKDF and ChaCha20-Poly1305, with a new key for every message.

A module of its own, imported only when needed: the cryptography package comes with the `fleet` extra.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE = bytes(12)  # constant, as each key encrypts one message
PURPOSE = b"bulkshare credentials 1"


class SealedBox:
    """A key pair. Anyone with `public_key` can seal a message, and only this object can open it."""

    def __init__(self) -> None:
        self._key = X25519PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes_raw()

    def open(self, sealed: bytes) -> str:
        """Return the sealed text. Raises `cryptography.exceptions.InvalidTag` if it was not sealed for this box."""
        theirs, encrypted = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
        shared = self._key.exchange(X25519PublicKey.from_public_bytes(theirs))
        return _cipher(shared, theirs, self.public_key).decrypt(NONCE, encrypted, None).decode()


def seal(text: str, public_key: bytes) -> bytes:
    """Return `text` encrypted for the owner of the box with this public key."""
    once = X25519PrivateKey.generate()
    ours = once.public_key().public_bytes_raw()
    shared = once.exchange(X25519PublicKey.from_public_bytes(public_key))
    return ours + _cipher(shared, ours, public_key).encrypt(NONCE, text.encode(), None)


def _cipher(shared: bytes, ours: bytes, theirs: bytes) -> ChaCha20Poly1305:
    hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE + ours + theirs)
    return ChaCha20Poly1305(hkdf.derive(shared))
