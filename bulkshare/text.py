"""Text for people: untrusted text as one printable line of bounded length, and counts with their nouns."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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


SECRET_OPTIONS = ("--webhook", "--on-finish")  # their values may contain tokens
HIDDEN = "***"
URL_PARTS = re.compile(r"(\w[\w+.-]*://)(?:.*@)?([^/?#]*)([^?#]*)(.*)", re.DOTALL)


def without_secrets(words: Iterable[str]) -> str:
    """Return a command line as a line for a shell, in which what may be a secret is hidden.

    That is the user, the password and the query of a URL, its path as well on a web server, and the values of
    `SECRET_OPTIONS`.
    """
    shown, hidden = [], False
    for word in words:
        option, equals, _ = word.partition("=")
        if hidden:
            shown.append(HIDDEN)
        elif equals and option in SECRET_OPTIONS:
            shown.append(f"{option}={HIDDEN}")
        else:
            shown.append(shlex.quote(URL_PARTS.sub(_without_secrets, word)))
        hidden = not hidden and word in SECRET_OPTIONS
    return " ".join(shown)


def _without_secrets(url: re.Match[str]) -> str:
    scheme, host, path, query = url.groups()
    if scheme in {"http://", "https://"} and path.strip("/"):
        path = f"/{HIDDEN}"
    return f"{scheme}{host}{path}" + (f"?{HIDDEN}" if query else "")


def how_to_install(extra: str) -> str:
    """Return how to install what an extra of this package needs, from a checkout or an index."""
    return f"pip install '.[{extra}]' in a checkout of bulkshare, or 'bulkshare[{extra}]' from a package index"


def counted(count: int, one: str, many: str = "") -> str:
    """Return "1 pair" or "1,234 pairs"; `many` is the plural if it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
