{{/*
What values.schema.json cannot say, because it concerns several values. Each message names the
value and what is allowed; the first of them ends the rendering.
*/}}
{{- define "leyden.checks" -}}
{{- $name := include "leyden.fullname" . -}}
{{- if gt (len $name) 47 -}}
{{- fail (printf "fullnameOverride: KubeRay allows 47 characters for a RayService's name; %q has %d" $name (len $name)) -}}
{{- end -}}
{{- if and .Values.ray.tokenAuth (eq .Values.kuberay.version "1.5") -}}
{{- fail "ray.tokenAuth: KubeRay 1.5.0 knows no tokens: set it to false, or kuberay.version to what runs" -}}
{{- end -}}
{{- if and .Values.ray.encrypted (ne .Values.kuberay.version "1.7") -}}
{{- fail "ray.encrypted: needs kuberay.version 1.7" -}}
{{- end -}}
{{- $hosted := dict -}}
{{- $names := list -}}
{{- range .Values.workerGroups -}}
{{- $group := . -}}
{{- if has .name $names -}}
{{- fail (printf "workerGroups: two groups are called %q" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- if gt (int .minPods) (int .maxPods) -}}
{{- fail (printf "workerGroups: %s: minPods %d is more than maxPods %d" .name (int .minPods) (int .maxPods)) -}}
{{- end -}}
{{- if and (ne (int .minPods) (int .maxPods)) (not $.Values.autoscaler.enabled) -}}
{{- fail (printf "workerGroups: %s: minPods and maxPods differ, which needs autoscaler.enabled" .name) -}}
{{- end -}}
{{- range .hosts -}}
{{- if hasKey $hosted . -}}
{{- fail (printf "workerGroups: %s is hosted by %s and by %s: a stage has one group" . (get $hosted .) $group.name) -}}
{{- end -}}
{{- $_ := set $hosted . $group.name -}}
{{- if and (gt (int ($group.gpus | default 0)) 0) (ne . "gateway") -}}
{{- $share := dig . "num_gpus" nil $.Values.config -}}
{{- if and $share (gt (float64 $share) (float64 $group.gpus)) -}}
{{- fail (printf "config.%s.num_gpus: %v, and a pod of group %s has %v" . $share $group.name $group.gpus) -}}
{{- end -}}
{{- if kindIs "invalid" $share -}}
{{- fail (printf "config.%s.num_gpus: needed, since the pods of group %s have GPUs; a share of one, such as 0.5, or whole ones" . $group.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (has "gateway" .hosts) (ne (int .minPods) (int .maxPods)) -}}
{{- fail (printf "workerGroups: %s hosts the gateway: minPods and maxPods are the same, since each pod has one Gateway and those do not scale by load" .name) -}}
{{- end -}}
{{- end -}}
{{- range list "gateway" "text_encoder" "denoiser" "vae" -}}
{{- if not (hasKey $hosted .) -}}
{{- fail (printf "workerGroups: no group hosts %s" .) -}}
{{- end -}}
{{- end -}}
{{- $models := list -}}
{{- $roots := list -}}
{{- range .Values.models -}}
{{- if has .name $models -}}
{{- fail (printf "models: %s is there twice" .name) -}}
{{- end -}}
{{- if and .sharesWith (not (has .sharesWith $roots)) -}}
{{- fail (printf "models: %s: sharesWith names %q, which is no model before it that has its own" .name .sharesWith) -}}
{{- end -}}
{{- $models = append $models .name -}}
{{- if not .sharesWith -}}
{{- $roots = append $roots .name -}}
{{- end -}}
{{- end -}}
{{- with .Values.gcsFaultTolerance -}}
{{- if and .enabled (not .redisAddress) (not .redis.deploy) -}}
{{- fail "gcsFaultTolerance: needs redisAddress (redis://HOST:PORT), or redis.deploy: true" -}}
{{- end -}}
{{- if and .redisAddress .redis.deploy -}}
{{- fail "gcsFaultTolerance: redisAddress and redis.deploy: true exclude each other" -}}
{{- end -}}
{{- if and .redis.deploy (not .passwordSecret.name) -}}
{{- fail "gcsFaultTolerance.passwordSecret.name: needed with redis.deploy: true; a Secret with the password that Redis is to have" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.tls.clientCa (not .Values.tls.secretName) -}}
{{- fail "tls.clientCa: needs tls.secretName, whose Secret then has ca.crt too" -}}
{{- end -}}
{{- if and .Values.grpcRoute.enabled (not .Values.grpcRoute.parentRefs) -}}
{{- fail "grpcRoute.parentRefs: needed where grpcRoute.enabled; the Gateway that the route is attached to" -}}
{{- end -}}
{{- if and .Values.grpcRoute.enabled .Values.tls.secretName -}}
{{- fail "grpcRoute.enabled: a GRPCRoute speaks plaintext to the pods (h2c), and tls.secretName makes them speak TLS; end TLS at the Gateway, or use a TLSRoute of your own" -}}
{{- end -}}
{{- if and .Values.web.openai (not .Values.web.enabled) -}}
{{- fail "web.openai: needs web.enabled, whose port it answers on" -}}
{{- end -}}
{{- if and .Values.monitoring.dashboard.enabled (not (.Files.Get "files/dashboard.json")) -}}
{{- fail "monitoring.dashboard.enabled: this chart has no files/dashboard.json" -}}
{{- end -}}
{{- if and .Values.monitoring.prometheusRule.enabled (not (.Files.Get "files/rules.yaml")) -}}
{{- fail "monitoring.prometheusRule.enabled: this chart has no files/rules.yaml" -}}
{{- end -}}
{{- end -}}
