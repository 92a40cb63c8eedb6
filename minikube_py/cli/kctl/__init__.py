"""`kctl`: the everyday part of kubectl, working from discovery, so that a kind it has never heard of works too."""
