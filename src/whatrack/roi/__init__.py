"""What each real earned: the report, what it is made of, and who looks at it."""
