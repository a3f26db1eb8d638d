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
  "drain_notice_s" 3
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

{{/* How a stage scales, which is its deployment's and not its `args`': a change of it keeps the
replicas. What values.config leaves out is Leyden's default. */}}
{{- define "leyden.scaling" -}}
{{- $names := dict "text_encoder" "TextEncoder" "denoiser" "Denoiser" "vae" "Vae" -}}
{{- $least := dig "min_replicas" 1 .settings -}}
{{- $most := dig "max_replicas" 1 .settings -}}
name: {{ get $names .stage }}
autoscaling_config:
  min_replicas: {{ $least }}
  initial_replicas: {{ max 1 (int $least) }}
  max_replicas: {{ $most }}
  target_ongoing_requests: {{ dig "target_ongoing_requests" 4 .settings }}
  upscale_delay_s: {{ dig "upscale_delay_s" 2 .settings }}
  downscale_delay_s: {{ dig "downscale_delay_s" 60 .settings }}
  downscale_to_zero_delay_s: {{ dig "downscale_to_zero_delay_s" 300 .settings }}
  metrics_interval_s: 1
  look_back_period_s: 2
{{- end -}}

{{- define "leyden.serveConfig" -}}
{{- $logging := dict "log_level" "WARNING" "enable_access_log" false -}}
{{- $importPath := "leyden_server.controller.serve_app:build_app" -}}
{{- $scaling := list "min_replicas" "max_replicas" "target_ongoing_requests" "upscale_delay_s" "downscale_delay_s" "downscale_to_zero_delay_s" -}}
{{- $config := fromYaml (include "leyden.config" .) -}}
{{- $gateway := deepCopy $config -}}
{{- $instance := dig "ray" "instance" "leyden" $config -}}
{{- $roots := 0 -}}
{{- range .Values.models -}}
{{- if not .sharesWith -}}
{{- $roots = add1 $roots -}}
{{- end -}}
{{- end -}}
{{- $applications := list -}}
{{- $stages := dict -}}
{{- range .Values.models -}}
{{- $model := .name -}}
{{- $owner := .sharesWith | default .name -}}
{{- $names := dict -}}
{{- range $stage := list "text_encoder" "denoiser" "vae" -}}
{{- $of := ternary $model $owner (eq $stage "denoiser") -}}
{{- $name := printf "%s-%s-%s" $instance ($stage | replace "_" "-") $of -}}
{{- $_ := set $names $stage $name -}}
{{- if eq $of $model -}}
{{- $settings := get $config $stage -}}
{{- $own := pick $config "model_repository" -}}
{{- $kept := deepCopy $settings -}}
{{- range $scaling -}}
{{- $kept = omit $kept . -}}
{{- end -}}
{{- $_ := set $own $stage $kept -}}
{{- $args := dict "stage" $stage "model" $model "config" $own -}}
{{- /* Where none names its share of a GPU, the replicas at rest divide the default one. */ -}}
{{- $alike := mul (ternary (len $.Values.models) $roots (eq $stage "denoiser")) (max 1 (int (dig "min_replicas" 1 $settings))) -}}
{{- if and (kindIs "invalid" (dig "num_gpus" nil $settings)) (gt (int $alike) 1) -}}
{{- $_ := set $args "alike" $alike -}}
{{- end -}}
{{- $deployment := fromYaml (include "leyden.scaling" (dict "stage" $stage "settings" $settings)) -}}
{{- $applications = append $applications (dict
  "name" $name
  "route_prefix" nil
  "import_path" $importPath
  "args" $args
  "deployments" (list $deployment)
  "logging_config" $logging) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $stages $model $names -}}
{{- end -}}
{{- /* Of how a stage scales a Gateway knows that it may rest, and no more. */ -}}
{{- range $stage := list "text_encoder" "denoiser" "vae" -}}
{{- $settings := get $config $stage -}}
{{- $rests := eq (int (dig "min_replicas" 1 $settings)) 0 -}}
{{- $kept := deepCopy $settings -}}
{{- range $scaling -}}
{{- if not (and $rests (has . (list "min_replicas" "downscale_to_zero_delay_s"))) -}}
{{- $kept = omit $kept . -}}
{{- end -}}
{{- end -}}
{{- $_ := set $gateway $stage $kept -}}
{{- end -}}
{{- $applications = append $applications (dict
  "name" (printf "%s-gateway" $instance)
  "route_prefix" nil
  "import_path" $importPath
  "args" (dict "stage" "gateway" "stages" $stages "config" $gateway)
  "logging_config" $logging) -}}
{{- dict
  "proxy_location" "Disabled"
  "logging_config" $logging
  "applications" $applications | toYaml -}}
{{- end -}}
