"""The read side of tickets: list, one ticket, timeline. Reads many packages' tables, writes none."""
