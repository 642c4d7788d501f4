"""Runtimes that build and run a bundle's graphs. Nothing here imports torch."""
