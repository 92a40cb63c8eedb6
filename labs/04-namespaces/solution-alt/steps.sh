# The same commands for each team; the quota counts objects instead of naming pods.
set -e
for team in {{ team_a }}:{{ limit_a }} {{ team_b }}:{{ limit_b }}; do
  room=${team%:*} limit=${team#*:}
  kubectl create serviceaccount {{ robot }} -n "$room"
  kubectl create rolebinding robots -n "$room" --clusterrole={{ robot }} --serviceaccount="$room:{{ robot }}"
  kubectl create quota limit -n "$room" --hard="count/pods=$limit"
  kubectl apply -n "$room" -f - <<END
apiVersion: v1
kind: Pod
metadata:
  name: {{ app }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: busybox:latest
      imagePullPolicy: IfNotPresent
      command: ["httpd", "-f", "-p", "{{ port }}", "-h", "/www"]
      volumeMounts: [{name: www, mountPath: /www}]
  volumes:
    - {name: www, configMap: {name: motto}}
END
done
