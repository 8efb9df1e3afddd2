{{- define "gateway.name" -}}
{{ .Values.name | default .Release.Name }}
{{- end -}}

{{- define "gateway.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "gateway.name" .) "default" .Values.serviceAccount.create) }}
{{- end -}}

{{- define "gateway.selectorLabels" -}}
app: {{ .Values.labels.app | default (include "gateway.name" .) | quote }}
istio: {{ .Values.labels.istio | default (include "gateway.name" . | trimPrefix "istio-") | quote }}
{{- end -}}

{{- define "gateway.labels" -}}
{{ include "gateway.selectorLabels" . }}
istio.io/rev: {{ .Values.revision | default "default" | quote }}
app.kubernetes.io/name: {{ include "gateway.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/part-of: istio
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- with omit .Values.labels "app" "istio" }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "gateway.metadata" -}}
name: {{ include "gateway.name" . | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "gateway.labels" . | nindent 2 }}
{{- with .Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Not empty if any port is below 1024, or has a name of which one cannot tell. */ -}}
{{- define "gateway.listensBelow1024" -}}
{{- range .Values.service.ports }}
{{- if lt (int (.targetPort | default .port)) 1024 }}true{{ end }}
{{- end }}
{{- end -}}
