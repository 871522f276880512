"""What several checks say of bytes that did not come back as they were sent."""


def difference(sent: bytes, back: bytes) -> str:
    """Where ``back`` is not ``sent``, in words; empty when they are the same."""
    if sent == back:
        return ""
    for place, (wanted, found) in enumerate(zip(sent, back, strict=False)):
        if wanted != found:
            return f"byte {place} was sent as 0x{wanted:02x} and came as 0x{found:02x}"
    if len(back) < len(sent):
        return f"{len(back)} of {len(sent)} bytes came; the first one that is missing is 0x{sent[len(back)]:02x}"
    return f"{len(back)} bytes came for the {len(sent)} that were sent"


def shown(data: bytes, most: int = 40) -> str:
    """The first bytes, as a programmer would write them."""
    return f"{data[:most]!r}{' …' if len(data) > most else ''}"
