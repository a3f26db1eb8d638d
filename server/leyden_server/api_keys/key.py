"""What an API key looks like: `ley_`, an id of 8 characters, `_`, and 32 random bytes in base32.

Base32 in lower case and without padding, so that a key is one word to a double click and to a
shell. The id says which key it is; the random bytes are what nobody can guess, so that one round
of SHA-256 hides them as well as a slow hash would.
"""

import base64
import hashlib
import re
import secrets

__all__ = ["digest", "id_of", "new_key"]

ID_BYTES = 5
SECRET_BYTES = 32
KEY = re.compile(r"ley_([a-z2-7]{8})_[a-z2-7]{52}")


def new_key() -> str:
    """Return a key that nobody has."""
    return f"ley_{_base32(ID_BYTES)}_{_base32(SECRET_BYTES)}"


def id_of(key: str) -> str:
    """Return a key's id; empty where it is no key."""
    match = KEY.fullmatch(key)
    return "" if match is None else match[1]


def digest(key: str) -> bytes:
    """Return the SHA-256 of a whole key, 32 bytes."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _base32(size_bytes: int) -> str:
    return base64.b32encode(secrets.token_bytes(size_bytes)).decode().rstrip("=").lower()
