"""Encoders: networks that find the codes of a picture in one pass, or in a few."""
