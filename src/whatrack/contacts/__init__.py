"""The people who write, by every id they are known by, and what they wrote."""
