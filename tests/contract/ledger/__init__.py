"""The contract of every ledger, on any database."""
