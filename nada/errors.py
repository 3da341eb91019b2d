"""The failures that a sentence explains: exit codes on the command line, a message on the node in ComfyUI."""

from __future__ import annotations


class NadaError(Exception):
    """Something went wrong that the user can understand and mend; the message says how (exit code 1)."""


class UsageError(NadaError, ValueError):
    """An argument is out of range, unknown or contradicts another (exit code 2)."""


class CheckpointError(NadaError):
    """A file is not a StyleGAN2 generator that can be loaded, or not one that can be read safely."""
