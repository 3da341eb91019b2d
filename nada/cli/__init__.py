"""The command line, `nada`: one module for each verb."""

from .main import main

__all__ = ["main"]
