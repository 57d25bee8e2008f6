"""What every ledger has to do, whatever database it is in."""
