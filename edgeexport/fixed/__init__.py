"""The one loop: a host walked with its reductions, at constant counts and as published."""
