"""Styles: adaptations as differences of weights, and their files."""
