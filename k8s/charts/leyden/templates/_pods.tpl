{{/* What the pods of the head and of the workers have in common. */}}

{{- define "leyden.image" -}}
{{- $image := .root.Values.image -}}
{{- $cpu := default (printf "%s-cpu" .root.Chart.AppVersion) $image.cpuTag -}}
{{- $cuda := default (printf "%s-cuda" .root.Chart.AppVersion) $image.cudaTag -}}
{{- printf "%s:%s" $image.repository (ternary $cuda $cpu (gt (int .gpus) 0)) -}}
{{- end -}}

{{- define "leyden.graceSeconds" -}}
{{- add (int .Values.longestGenerationSeconds) 15 -}}
{{- end -}}

{{- define "leyden.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.user }}
runAsGroup: {{ .Values.podSecurity.user }}
fsGroup: {{ .Values.podSecurity.user }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "leyden.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "leyden.env" -}}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
# Ray runs its workers at a niceness of 15 otherwise, behind every other busy process.
- {name: RAY_worker_niceness, value: "0"}
# Ray 2.60 waits for half a minute after the signal; the hook before it has waited already.
- {name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S, value: "0"}
{{- if not .Values.ray.tokenAuth }}
- {name: RAY_AUTH_MODE, value: disabled}
{{- end }}
{{- if .Values.modelStore.enabled }}
- {name: HF_HOME, value: /models/huggingface}
- {name: HF_HUB_OFFLINE, value: "1"}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* requests equal to limits: a pod with a GPU is never evicted for what it did not ask for. */}}
{{- define "leyden.resources" -}}
{{- $amounts := deepCopy .resources -}}
{{- if gt (int (.gpus | default 0)) 0 -}}
{{- $_ := set $amounts "nvidia.com/gpu" (int .gpus) -}}
{{- end -}}
requests:
  {{- toYaml $amounts | nindent 2 }}
limits:
  {{- toYaml $amounts | nindent 2 }}
{{- end -}}

{{/* Keeps a pod alive until what it serves has ended; the kubelet kills it after the grace. */}}
{{- define "leyden.preStop" -}}
preStop:
  exec:
    command:
      - python
      - -m
      - leyden_server.controller.pod_stop
      - --role={{ .role }}
      - --instance={{ dig "ray" "instance" "leyden" .root.Values.config }}
      - --within={{ add (int .root.Values.longestGenerationSeconds) 10 }}
{{- end -}}

{{/* Weights by `leyden models pull`, which checks every file's hash and goes on where it stopped. */}}
{{- define "leyden.pull" -}}
{{- $root := .root -}}
{{- range .root.Values.models }}
- name: pull-{{ .name | lower | replace "." "-" | replace "_" "-" | trunc 58 | trimSuffix "-" }}
  image: {{ include "leyden.image" (dict "root" $root "gpus" $.gpus) }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  command: [leyden, models, pull, {{ .name }}]
  env:
    - {name: HF_HOME, value: /models/huggingface}
    {{- with $root.Values.modelStore.hubTokenSecret }}
    {{- if .name }}
    - name: HF_TOKEN
      valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ .key }}}}
    {{- end }}
    {{- end }}
  resources:
    requests: {cpu: "1", memory: 1Gi}
    limits: {cpu: "1", memory: 1Gi}
  securityContext:
    {{- include "leyden.containerSecurity" $root | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
    - {name: home, mountPath: /home/leyden}
{{- end }}
{{- end -}}

{{- define "leyden.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: home, mountPath: /home/leyden}
{{- if .root.Values.modelStore.enabled }}
- {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- if .hasGateway }}
{{- if .root.Values.tls.secretName }}
# Whole folders, not subPath: only then is a changed Secret seen.
- {name: tls, mountPath: /etc/leyden/tls, readOnly: true}
{{- end }}
{{- if .root.Values.apiKeys.secretName }}
- {name: keys, mountPath: /etc/leyden/keys, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{- define "leyden.volumes" -}}
- {name: tmp, emptyDir: {}}
- {name: home, emptyDir: {}}
{{- with .root.Values.modelStore }}
{{- if .enabled }}
- name: models
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-models" (include "leyden.fullname" $.root)) .existingClaim }}
{{- end }}
{{- end }}
{{- if .hasGateway }}
{{- with .root.Values.tls.secretName }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .root.Values.apiKeys.secretName }}
- name: keys
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end -}}

{{/* One health service of the Gateway, natively, or by a command where it speaks TLS. */}}
{{- define "leyden.gatewayProbe" -}}
{{- if .root.Values.tls.secretName -}}
exec:
  command:
    - python
    - -m
    - leyden_server.gateway.probe
    - --service={{ .service }}
    - --port=8001
    - --certificate=/etc/leyden/tls/tls.crt
{{- if .root.Values.tls.clientCa }}
    - --private-key=/etc/leyden/tls/tls.key
{{- end }}
{{- else -}}
grpc: {port: 8001, service: {{ .service | quote }}}
{{- end -}}
{{- end -}}

{{/*
A pod with a Gateway is alive while the process of the Gateway answers, and ready while it takes
requests. Ray may have to wait for a GPU before it places one: the start gets half an hour.
Any other pod is alive and ready while its raylet is: KubeRay's own probe of workers would ask
port 8000, which nobody listens on.
*/}}
{{- define "leyden.workerProbes" -}}
{{- if .hasGateway -}}
startupProbe:
  {{- include "leyden.gatewayProbe" (dict "root" .root "service" "leyden.live") | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 180
livenessProbe:
  {{- include "leyden.gatewayProbe" (dict "root" .root "service" "leyden.live") | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 10
  # Ray Serve may replace the process: it gets two minutes.
  failureThreshold: 12
readinessProbe:
  {{- include "leyden.gatewayProbe" (dict "root" .root "service" "") | nindent 2 }}
  # Noticed within gateway.drain_notice_s; by TLS a probe starts a process, and is not.
  periodSeconds: {{ ternary 5 1 (not (empty .root.Values.tls.secretName)) }}
  timeoutSeconds: 10
  failureThreshold: 2
{{- else -}}
livenessProbe:
  httpGet: {path: /api/local_raylet_healthz, port: 52365}
  initialDelaySeconds: 30
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 12
readinessProbe:
  httpGet: {path: /api/local_raylet_healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}
{{- end -}}
