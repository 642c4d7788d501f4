"""What hosts and reductions both speak: patches, attention, normalisation, facts about a host."""
