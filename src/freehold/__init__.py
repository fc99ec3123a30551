"""Freehold: a libSQL database of their own for every user of an app."""

__version__ = "0.1.0"
