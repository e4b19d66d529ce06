"""Modules of the standard library, and others, made green."""
