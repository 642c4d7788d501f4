"""`edgeexport tune`: which method, how many tokens per block, which precision; for a device, and on a user's images."""
