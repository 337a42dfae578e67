"""Addresses of randomness: a number for each thing that is drawn, from what it is drawn for."""

from hashlib import blake2b


def address(*parts: int | str) -> int:
    """A seed from 0 to 2^63 - 1 that depends on the parts alone, on every machine."""
    text = "/".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
