"""Telling Meta what its ads earned: owed with the move, sent once, proved by each attempt."""
