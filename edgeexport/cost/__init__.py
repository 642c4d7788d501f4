"""Work per node, and the time that it is predicted to take on a device. Runs without torch."""
