"""Makes text fit to show: that from outside one line, printable and bounded; a number with its noun."""

from __future__ import annotations

LONGEST = 300  # characters; a reason is a line on a terminal, not a page


def clean(text: str, longest: int = LONGEST) -> str:
    """Return `text` as one printable line of at most `longest` characters.

    Control characters, line ends, escape sequences' ESC, bidi marks and other invisible format characters become
    spaces (all are non-printable to `str.isprintable`), runs of white space become one space.
    """
    if len(text) <= longest and text.isascii() and text.isprintable() and " " not in text:
        return text
    head = text[: longest * 8]  # enough to survive the folding of white space; bounds the work on 1 MB of text
    line = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def counted(count: int, one: str, many: str = "") -> str:
    """Return "1 pair" or "1,234 pairs"; `many` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
