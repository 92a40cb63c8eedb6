"""The kubelet's side of dynamic resource allocation: drivers that register, claims they prepare, what containers get."""
