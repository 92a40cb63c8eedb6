"""Who makes a request (authentication) and whether they may (authorisation)."""
