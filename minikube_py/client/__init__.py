"""The client library: REST, informers, work queues and reconcile loops, for our own controllers and for users' own."""
