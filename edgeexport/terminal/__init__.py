"""How results and progress look on a terminal. Runs without torch."""
