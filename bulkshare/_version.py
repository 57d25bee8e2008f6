"""The version, in a module of its own: nothing below imports the package itself."""

__version__ = "0.1.0"
