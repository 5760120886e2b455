"""Tickets and their stages: one open ticket per contact and number."""
