"""Measures of adapted generators: quality, diversity, and the classifier of the demo world."""
