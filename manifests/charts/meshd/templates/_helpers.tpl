{{- /* -REVISION, or nothing for the default revision. */ -}}
{{- define "meshd.suffix" -}}
{{- if and .Values.revision (ne .Values.revision "default") }}-{{ .Values.revision }}{{ end -}}
{{- end -}}

{{- define "meshd.name" -}}
istiod{{ include "meshd.suffix" . }}
{{- end -}}

{{- define "meshd.revision" -}}
{{ .Values.revision | default "default" }}
{{- end -}}

{{- define "meshd.selectorLabels" -}}
app: istiod
istio.io/rev: {{ include "meshd.revision" . | quote }}
{{- end -}}

{{- define "meshd.labels" -}}
{{ include "meshd.selectorLabels" . }}
istio: pilot
app.kubernetes.io/name: istiod
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/part-of: istio
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- /* Cluster-wide objects carry the namespace in their name: each namespace may have its own mesh. */ -}}
{{- define "meshd.clusterRole" -}}
istiod-clusterrole{{ include "meshd.suffix" . }}-{{ .Release.Namespace }}
{{- end -}}

{{- define "meshd.injectorWebhook" -}}
istio-sidecar-injector{{ include "meshd.suffix" . }}{{ if ne .Release.Namespace "istio-system" }}-{{ .Release.Namespace }}{{ end }}
{{- end -}}

{{- define "meshd.validatorWebhook" -}}
istio-validator{{ include "meshd.suffix" . }}-{{ .Release.Namespace }}
{{- end -}}
