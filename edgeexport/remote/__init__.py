"""Commands carried out on a device over ssh. Runs without torch."""
