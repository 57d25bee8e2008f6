"""Text for people: untrusted text as one printable line of bounded length, and counts with their nouns."""

from __future__ import annotations

LONGEST = 300  # characters; a reason is a line on a terminal, not a page


def clean(text: str, longest: int = LONGEST) -> str:
    """Return `text` as one printable line of at most `longest` characters.

    Everything that `str.isprintable` rejects (control characters, line ends, ESC, bidi marks and other invisible format
    characters) becomes a space, and runs of white space become one space.
    """
    if len(text) <= longest and text.isprintable() and "  " not in text and text.strip() == text:
        return text
    head = text[: longest * 8]  # enough even if white space is collapsed; bounds the work on 1 MB of text
    line = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def escaped(text: str, longest: int = LONGEST) -> str:
    """Return `text` as `clean` does, except that what can't be seen is shown escaped, as in a Python string."""
    if text.isprintable():
        return clean(text, longest)
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:longest])
    return clean("".join(shown), longest)


def how_to_install(extra: str) -> str:
    """Return how to install what an extra of this package needs, from a checkout or an index."""
    return f"pip install '.[{extra}]' in a checkout of bulkshare, or 'bulkshare[{extra}]' from a package index"


def counted(count: int, one: str, many: str = "") -> str:
    """Return "1 pair" or "1,234 pairs"; `many` is the plural if it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
