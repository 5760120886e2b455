"""HTTP: the webhook in front, the JSON API behind it."""
