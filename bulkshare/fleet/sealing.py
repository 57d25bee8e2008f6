"""Seals what only one worker may read: neither the scheduler on the way nor anybody's debug log has it in the clear.

The construction is that of NaCl's sealed boxes, of the pieces that `cryptography` has: a key pair for this one message,
X25519, HKDF-SHA256 over both public keys, ChaCha20-Poly1305. A key seals one message, so that its nonce is constant.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE = bytes(12)
PURPOSE = b"bulkshare credentials 1"


class Letterbox:
    """Takes sealed messages. Who has `slot`, its public key, can seal some, and nobody but this object opens them."""

    def __init__(self) -> None:
        self._key = X25519PrivateKey.generate()
        self.slot = self._key.public_key().public_bytes_raw()

    def open(self, sealed: bytes) -> str:
        """Return what was sealed. Raises `cryptography.exceptions.InvalidTag` where it was not for us."""
        theirs, text = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
        shared = self._key.exchange(X25519PublicKey.from_public_bytes(theirs))
        return _cipher(shared, theirs, self.slot).decrypt(NONCE, text, None).decode()


def seal(text: str, slot: bytes) -> bytes:
    """Return `text` so that the owner of the letterbox alone can read it."""
    once = X25519PrivateKey.generate()
    ours = once.public_key().public_bytes_raw()
    shared = once.exchange(X25519PublicKey.from_public_bytes(slot))
    return ours + _cipher(shared, ours, slot).encrypt(NONCE, text.encode(), None)


def _cipher(shared: bytes, ours: bytes, theirs: bytes) -> ChaCha20Poly1305:
    hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE + ours + theirs)
    return ChaCha20Poly1305(hkdf.derive(shared))
