"""Sweeps: many adaptations from one description, in this process or on Ray, with one page of results."""
