"""The JSON API: Bearer keys in, snake_case JSON and problem+json out."""
