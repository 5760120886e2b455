"""Which ad brought a ticket: last touch, with every touch and its decision kept."""
