"""Model families, a folder each: spec, config, the walk through its blocks, work, scopes."""
