"""The scheduler: decides for every pending pod which node it goes to, says why, and binds it through the API."""
