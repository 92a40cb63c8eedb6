"""What `kubectl get` shows: for each kind its columns, as data, each with the function that fills its cell."""
