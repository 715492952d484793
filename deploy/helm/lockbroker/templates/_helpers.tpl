{{- define "lockbroker.name" -}}
{{- if contains "lockbroker" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-lockbroker" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "lockbroker.selector" -}}
app.kubernetes.io/name: lockbroker
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "lockbroker.labels" -}}
{{ include "lockbroker.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Every broker must be given exactly this, sidecars in other namespaces too, so it names the namespace. */}}
{{- define "lockbroker.store" -}}
{{- if .Values.memcached.enabled -}}
{{- $service := printf "%s-memcached" (include "lockbroker.name" .) -}}
{{- $servers := list -}}
{{- range $shard := until (int .Values.memcached.shards) -}}
{{- $servers = append $servers (printf "%s-%d.%s.%s.svc:11211" $service $shard $service $.Release.Namespace) -}}
{{- end -}}
memcached://{{ join "," $servers }}
{{- else -}}
{{ required "store: name your memcached servers, or set memcached.enabled" .Values.store }}
{{- end -}}
{{- end }}

{{/* What Pod Security's level "restricted" asks for. */}}
{{- define "lockbroker.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "lockbroker.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Where pods go, and what they are not told. */}}
{{- define "lockbroker.pod" -}}
automountServiceAccountToken: false
# Kubernetes would set variables such as LOCKBROKER_PORT for every Service of that name.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
