# The ConfigMap made by a command instead of a manifest.
kubectl create configmap {{ config }} --namespace {{ namespace }} --from-literal=greeting="{{ greeting }}"
