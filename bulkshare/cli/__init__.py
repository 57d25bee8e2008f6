"""The command line: names, options and help. What a command does is in the module that it imports when called.

Importing this package is cheap, so that `--help` and shell completion answer at once; the build imports it, too, for
the man pages, and has nothing but click.
"""

from bulkshare.cli.commands import ledger as _ledger
from bulkshare.cli.commands import members as _members
from bulkshare.cli.commands import other as _other
from bulkshare.cli.commands import plans as _plans
from bulkshare.cli.commands import questions as _questions
from bulkshare.cli.program import main

DECLARATIONS = (_plans, _members, _questions, _ledger, _other)  # importing them is what adds the commands

__all__ = ["main"]
