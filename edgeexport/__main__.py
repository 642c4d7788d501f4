"""`python -m edgeexport`: the command line, where its script is not on the path."""

from __future__ import annotations

from edgeexport.cli.app import main

main()
