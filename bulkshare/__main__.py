"""The `bulkshare` command; also `python -m bulkshare`."""

from bulkshare.cli import main

if __name__ == "__main__":
    main()
