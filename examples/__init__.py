"""Worked examples that stand beside the package: they may use edgeexport, edgeexport never uses them."""
