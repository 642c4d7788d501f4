"""What goes into a model: its form, and photographs brought into it. Runs without torch."""
