"""Two bundles side by side, and conditions on their figures, for CI. Runs without torch."""
