"""What people look at: overlays, label maps, the HTML report. Runs without torch."""
