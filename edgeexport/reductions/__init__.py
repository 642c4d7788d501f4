"""Token reduction methods, a file each: spec, counts, exported step, published step, work, decisions."""
