"""Which ad: names and account of the ads that people came from."""
