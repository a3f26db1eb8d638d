{{/*
serveConfigV2, as `leyden serve --print-serve-config` prints it for the same settings: an
application for each stage, and one for the Gateways. tests/kubernetes compares the two.
*/}}

{{/* The Leyden config: what values.config says, and what the chart decides. */}}
{{- define "leyden.config" -}}
{{- $pods := 0 -}}
{{- range .Values.workerGroups -}}
{{- if has "gateway" .hosts -}}
{{- $pods = int .minPods -}}
{{- end -}}
{{- end -}}
{{- $gateway := dict
  "host" "0.0.0.0"
  "metrics_host" "0.0.0.0"
  "replicas" $pods
  "max_replicas_per_node" 1
  "resources" (dict "leyden_gateway" 1)
  "drain_timeout_s" (int .Values.longestGenerationSeconds) -}}
{{- if .Values.tls.secretName -}}
{{- $_ := set $gateway "tls_certificate" "/etc/leyden/tls/tls.crt" -}}
{{- $_ := set $gateway "tls_private_key" "/etc/leyden/tls/tls.key" -}}
{{- if .Values.tls.clientCa -}}
{{- $_ := set $gateway "tls_client_ca" "/etc/leyden/tls/ca.crt" -}}
{{- end -}}
{{- else -}}
{{- $_ := set $gateway "insecure" true -}}
{{- end -}}
{{- if .Values.apiKeys.secretName -}}
{{- $_ := set $gateway "api_keys" (printf "/etc/leyden/keys/%s" .Values.apiKeys.key) -}}
{{- end -}}
{{- if .Values.web.enabled -}}
{{- $_ := set $gateway "web_host" "0.0.0.0" -}}
{{- $_ := set $gateway "web_port" 8080 -}}
{{- if .Values.web.openai -}}
{{- $_ := set $gateway "openai" true -}}
{{- end -}}
{{- end -}}
{{- $config := deepCopy .Values.config -}}
{{- $models := list -}}
{{- range .Values.models -}}
{{- $models = append $models .name -}}
{{- end -}}
{{- $_ := set $config "models" $models -}}
{{- $_ := set $config "gateway" (merge $gateway (dig "gateway" dict $config)) -}}
{{- range list "text_encoder" "denoiser" "vae" -}}
{{- $resources := dict "resources" (dict (printf "leyden_%s" .) 0.001) -}}
{{- $_ := set $config . (merge $resources (dig . dict $config)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "leyden.serveConfig" -}}
{{- $logging := dict "log_level" "WARNING" "enable_access_log" false -}}
{{- $importPath := "leyden_server.controller.serve_app:build_app" -}}
{{- $config := fromYaml (include "leyden.config" .) -}}
{{- $common := pick $config "model_repository" "ray" -}}
{{- $instance := dig "ray" "instance" "leyden" $config -}}
{{- $applications := list -}}
{{- $stages := dict -}}
{{- range .Values.models -}}
{{- $model := .name -}}
{{- $owner := .sharesWith | default .name -}}
{{- $names := dict -}}
{{- range list "text_encoder" "denoiser" "vae" -}}
{{- $of := ternary $model $owner (eq . "denoiser") -}}
{{- $name := printf "%s-%s-%s" $instance (. | replace "_" "-") $of -}}
{{- $_ := set $names . $name -}}
{{- if eq $of $model -}}
{{- $own := merge (pick $config .) $common -}}
{{- $applications = append $applications (dict
  "name" $name
  "route_prefix" nil
  "import_path" $importPath
  "args" (dict "stage" . "model" $model "config" $own)
  "logging_config" $logging) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $stages $model $names -}}
{{- end -}}
{{- $applications = append $applications (dict
  "name" (printf "%s-gateway" $instance)
  "route_prefix" nil
  "import_path" $importPath
  "args" (dict "stage" "gateway" "stages" $stages "config" $config)
  "logging_config" $logging) -}}
{{- dict
  "proxy_location" "Disabled"
  "logging_config" $logging
  "applications" $applications | toYaml -}}
{{- end -}}
