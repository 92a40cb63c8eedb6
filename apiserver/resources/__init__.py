"""The resources this server serves, as a table: what a kind is called, where it lives, what may be done with it."""
