{{- define "leyden.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains (include "leyden.name" .) .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "leyden.name" .) -}}
{{- end -}}
{{- end -}}

{{- define "leyden.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{/* What a Service, a policy or a budget selects by; never changes in the life of a release. */}}
{{- define "leyden.selectorLabels" -}}
app.kubernetes.io/name: {{ include "leyden.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "leyden.labels" -}}
{{ include "leyden.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}
