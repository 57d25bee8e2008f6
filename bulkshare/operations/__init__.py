"""The composition root: builds clouds, ledgers and engines from what a user asked for, and lets them work.

Knows nothing of command lines and terminals: the commands and the library are two ways to call it.
"""
