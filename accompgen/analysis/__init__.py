"""SOUND -> MUSIC AND FAULTS: what can be measured in sound alone, whatever made it."""
