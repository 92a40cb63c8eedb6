kubectl -n {{ namespace }} scale deployment {{ app }} --replicas={{ replicas }}
kubectl -n {{ namespace }} expose deployment {{ app }} --port=8000 --target-port={{ port }}
