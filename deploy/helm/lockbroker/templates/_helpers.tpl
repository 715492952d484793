{{- define "lockbroker.name" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := .Values.nameOverride | default .Chart.Name }}
{{- if contains $name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}
{{- end }}

{{- define "lockbroker.selector" -}}
app.kubernetes.io/name: {{ .root.Values.nameOverride | default .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* One map, so that a common label may replace one of ours but for the selector's. */}}
{{- define "lockbroker.labels" -}}
{{- $ours := dict "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version) }}
{{- toYaml (merge (fromYaml (include "lockbroker.selector" .)) (.more | default dict) .root.Values.commonLabels $ours) }}
{{- end }}

{{/* Metadata of an object: `name`, `component`, and more `labels` and `annotations`. */}}
{{- define "lockbroker.metadata" -}}
name: {{ .name }}
labels:
  {{- include "lockbroker.labels" (dict "root" .root "component" .component "more" .labels) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Metadata of a pod. */}}
{{- define "lockbroker.podMetadata" -}}
labels:
  {{- include "lockbroker.labels" (dict "root" .root "component" .component "more" .labels) | nindent 2 }}
{{- with merge (dict) .annotations .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "lockbroker.image" -}}
{{- $repository := .image.repository }}
{{- if .image.registry }}{{ $repository = printf "%s/%s" .image.registry .image.repository }}{{ end }}
{{- if .image.digest }}{{ printf "%s@%s" $repository .image.digest | quote }}
{{- else }}{{ printf "%s:%s" $repository (.image.tag | default .root.Chart.AppVersion) | quote }}{{ end }}
{{- end }}

{{/* Every broker must be given exactly this, sidecars in other namespaces too, so it names the namespace. */}}
{{- define "lockbroker.store" -}}
{{- if .Values.memcached.enabled -}}
{{- $service := printf "%s-memcached" (include "lockbroker.name" .) -}}
{{- $servers := list -}}
{{- range $shard := .Values.memcached.inUse | default (until (int .Values.memcached.shards)) -}}
{{- if ge (int $shard) (int $.Values.memcached.shards) -}}
{{- fail (printf "memcached.inUse: there is no pod %d of memcached.shards=%d" (int $shard) (int $.Values.memcached.shards)) -}}
{{- end -}}
{{- $servers = append $servers (printf "%s-%d.%s.%s.svc:11211" $service (int $shard) $service $.Release.Namespace) -}}
{{- end -}}
memcached://{{ join "," $servers }}
{{- else -}}
{{ required "store: name your memcached servers, or set memcached.enabled" .Values.store }}
{{- end -}}
{{- end }}

{{- define "lockbroker.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "lockbroker.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* What all pods have in common; `place` has nodeSelector, tolerations and priorityClassName. */}}
{{- define "lockbroker.pod" -}}
automountServiceAccountToken: false
# Kubernetes would set variables such as LOCKBROKER_PORT for every Service of that name.
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .place.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Egress of those who talk to memcached: DNS, and the servers. */}}
{{- define "lockbroker.storeEgress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- if .Values.memcached.enabled }}
- ports:
    - port: 11211
  to:
    - podSelector:
        matchLabels:
          {{- include "lockbroker.selector" (dict "root" . "component" "memcached") | nindent 10 }}
{{- else }}
{{- $ports := list }}
- ports:
    {{- range regexFindAll ":[0-9]+(=[0-9]+)?(,|$)" .Values.store -1 }}
    {{- $ports = append $ports (regexFind "[0-9]+" .) }}
    {{- end }}
    {{- range $ports | uniq }}
    - port: {{ . }}
    {{- end }}
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}
