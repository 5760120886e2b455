"""Meta's formats and limits. Knows no database."""
