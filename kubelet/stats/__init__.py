"""What this node and its pods use, as the kubelet's API tells it: /stats/summary and the pages below /metrics."""
