"""Procedural scenes with exact colour, depth and cameras: data that needs no download and no licence."""
