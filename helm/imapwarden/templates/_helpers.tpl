{{/* Names. */}}
{{- define "imapwarden.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Room is left for the suffixes of what belongs to it. */}}
{{- define "imapwarden.fullname" -}}
{{- $name := include "imapwarden.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "imapwarden.selectorLabels" -}}
app.kubernetes.io/name: {{ include "imapwarden.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "imapwarden.labels" -}}
{{ include "imapwarden.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* A list or map as YAML. The function `required` takes empty ones for given, and an empty selector selects every pod. */}}
{{- define "imapwarden.given" -}}
{{- if not (first .) -}}
{{- fail (last .) -}}
{{- end -}}
{{- toYaml (first .) -}}
{{- end -}}

{{/* The labels of the pods that clients reach: ours, or the mail server's. */}}
{{- define "imapwarden.podSelector" -}}
{{- if eq .Values.mode "sidecar" -}}
{{- include "imapwarden.given" (list .Values.sidecar.podSelector "sidecar.podSelector must be given in sidecar mode: the labels of the mail server's pods") -}}
{{- else -}}
{{- include "imapwarden.selectorLabels" . -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the certificate; empty where imapwarden makes its own. */}}
{{- define "imapwarden.tlsSecret" -}}
{{- if .Values.tls.secretName -}}
{{- .Values.tls.secretName -}}
{{- else if .Values.tls.certManager.enabled -}}
{{- printf "%s-tls" (include "imapwarden.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "imapwarden.claim" -}}
{{- default (printf "%s-data" (include "imapwarden.fullname" .)) .Values.persistence.existingClaim -}}
{{- end -}}

{{- define "imapwarden.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "imapwarden.at" -}}
{{- if contains ":" .address -}}
{{- printf "[%s]:%d" .address (int .port) -}}
{{- else -}}
{{- printf "%s:%d" .address (int .port) -}}
{{- end -}}
{{- end -}}

{{/* What a pod needs from its start to its end, in seconds. */}}
{{- define "imapwarden.gracePeriod" -}}
{{- add .Values.preStopSeconds .Values.drain.timeoutSeconds 10 -}}
{{- end -}}
