"""Measuring a bundle where it runs: time, the conditions it was taken under, energy. Runs without torch."""
