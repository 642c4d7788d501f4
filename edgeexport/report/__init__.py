"""The HTML report and its charts. Runs without torch."""
