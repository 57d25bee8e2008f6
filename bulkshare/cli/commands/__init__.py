"""The declarations of all commands: names, options and help, a module for each heading of `bulkshare --help`."""
