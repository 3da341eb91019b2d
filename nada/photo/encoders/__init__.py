"""Encoders: networks that find the codes of a picture at one look, or at a few."""
