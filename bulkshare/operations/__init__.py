"""What the commands do: builds sessions, ledgers and engines from options, and runs them. The composition root.

`run`, `diff`, `verify` and `resume` are the operations. They are called by the command line and the Python API alike,
and know nothing of arguments and terminals.
"""
