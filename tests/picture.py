"""Makes the README's picture of the terminal, plans/terminal.svg, from the program's real output.

.venv/bin/python -m tests.picture
"""

from __future__ import annotations

import fcntl
import html
import io
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "plans/terminal.svg"
BULKSHARE = Path(sys.executable).with_name("bulkshare")
COMMANDS = ("bulkshare run plans/quickstart.yaml --sandbox", "bulkshare show -n 4")
COLUMNS, LINES = 104, 40
CONTROL = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])")
ERASE_LINE, CURSOR_UP, COLOUR = "K", "A", "m"
ANSI_COLOURS = [  # black, red, green, yellow, blue, magenta, cyan, white
    (72, 79, 88),
    (255, 123, 114),
    (63, 185, 80),
    (210, 153, 34),
    (88, 166, 255),
    (188, 140, 255),
    (57, 197, 207),
    (177, 186, 196),
]
THEME = TerminalTheme((13, 17, 23), (230, 237, 243), ANSI_COLOURS)  # background, foreground, the others
# rich's template with the viewer's fonts: a README's pictures may not load any.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\n\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
)


USER, HOST = "alice", "ops-1"  # who and where in the picture, whoever makes it


def record(command: str, state: Path) -> str:
    """Run a command on a terminal, with its ledger below `state`, and return its output."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    variables = {"PATH": os.environ["PATH"], "HOME": str(state), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    variables["LOGNAME"] = USER
    with subprocess.Popen(
        [BULKSHARE, *command.split()[1:]],
        cwd=ROOT,
        env={**variables, "XDG_STATE_HOME": str(state)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    ) as process:
        os.close(slave)
        written = b""
        try:
            while chunk := os.read(master, 65536):
                written += chunk
        except OSError:  # EIO: the last writer has exited
            pass
    os.close(master)
    if process.returncode != 0:
        raise RuntimeError(f"{command}: exit code {process.returncode}\n{written.decode()}")
    return written.decode().replace(f"{USER} on {socket.gethostname()}", f"{USER} on {HOST}")


def screen(written: str) -> list[str]:
    """Return the lines that remain on the terminal, with their colours as escape sequences."""
    lines, row, end = [""], 0, 0
    for found in [*CONTROL.finditer(written), None]:
        for character in written[end : found.start() if found else None].replace("\r", ""):
            if character != "\n":
                lines[row] += character
                continue
            row += 1
            if row == len(lines):
                lines.append("")
        if found is None:
            break
        end = found.end()
        if found[2] == ERASE_LINE:
            lines[row] = ""
        elif found[2] == CURSOR_UP:
            row = max(row - int(found[1] or 1), 0)
        elif found[2] == COLOUR:
            lines[row] += found[0]
    return "\n".join(lines).rstrip().splitlines()


def play() -> list[str]:
    """Run the commands and return each behind a prompt, followed by what remains on the screen."""
    shown: list[str] = []
    with tempfile.TemporaryDirectory() as state:
        for command in COMMANDS:
            shown += [f"\x1b[1;32m$\x1b[0m \x1b[1m{command}\x1b[0m", *screen(record(command, Path(state))), ""]
    return shown[:-1]


def render(lines: list[str]) -> str:
    """Return lines as an SVG picture of a terminal."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), overflow="ignore", crop=False)
    return console.export_svg(title="bulkshare", theme=THEME, code_format=FORMAT, unique_id="terminal")


def words(text: str) -> list[str]:
    """Return the words of a picture or of terminal lines, without run names, times and ports, which vary."""
    parts = re.findall(r"<text class=\"terminal-(?!title)[^>]*>([^<]*)</text>", text)
    plain = html.unescape(" ".join(parts)) if parts else CONTROL.sub("", text)
    return [word for word in plain.split() if word.isalpha()]


if __name__ == "__main__":
    PICTURE.write_text(render(play()), "utf-8")
