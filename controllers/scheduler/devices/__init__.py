"""Which devices satisfy which claims: structured parameters of dynamic resource allocation, apart from any cluster."""
