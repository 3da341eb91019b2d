"""Files of a run: snapshots, states to resume from, history and results."""
