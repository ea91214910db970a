{{/*
The container, for our own pod and for the mail server's. Another chart may include it as well: give it a context with .Values
of this chart.
*/}}
{{- define "imapwarden.container" -}}
name: imapwarden
image: {{ include "imapwarden.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if and (include "imapwarden.tlsSecret" .) .Values.tls.followRenewals }}
# The outer shell becomes imapwarden; the inner one stays beside it, and tells it when the mounted certificate has changed.
command:
  - /bin/sh
  - -c
  - |
    sh -c '
      seen=`cksum < "$0"`
      while sleep "${FOLLOW_SECONDS:-60}"; do
        now=`cksum < "$0"` || continue
        if [ "$now" != "$seen" ]; then seen=$now; kill -HUP "$PPID"; fi
      done
    ' /etc/imapwarden/tls/tls.crt &
    exec imapwarden serve
{{- else }}
args: [serve]
{{- end }}
ports:
  - {name: iw-imaps, containerPort: 1993, protocol: TCP}
{{- if .Values.service.starttls.enabled }}
  - {name: iw-imap, containerPort: 1143, protocol: TCP}
{{- end }}
  - {name: iw-metrics, containerPort: 9993, protocol: TCP}
startupProbe:
  httpGet: {path: /healthz, port: iw-metrics}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /healthz, port: iw-metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: iw-metrics}
  periodSeconds: 5
  timeoutSeconds: 10
  failureThreshold: 2
lifecycle:
  preStop:
    exec:
      command: [sleep, {{ .Values.preStopSeconds | int | quote }}]
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  # Secrets without an fsGroup belong to root's group; nothing else here does.
  runAsGroup: {{ if and (eq .Values.mode "sidecar") (not .Values.sidecar.fsGroup) }}0{{ else }}65532{{ end }}
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
volumeMounts:
  - name: imapwarden-config
    mountPath: /etc/imapwarden/imapwarden.yaml
    subPath: imapwarden.yaml
    readOnly: true
  - name: imapwarden-data
    mountPath: /var/lib/imapwarden
{{- with include "imapwarden.storeMounts" . | trim }}
  {{- . | nindent 2 }}
{{- end }}
{{- if include "imapwarden.tlsSecret" . }}
  - name: imapwarden-tls
    mountPath: /etc/imapwarden/tls
    readOnly: true
{{- end }}
{{- if .Values.keyFile.secretName }}
  - name: imapwarden-key
    mountPath: /etc/imapwarden/key
    readOnly: true
{{- end }}
{{- range $name, $_ := .Values.files }}
  - name: imapwarden-file-{{ $name }}
    mountPath: /etc/imapwarden/files/{{ $name }}
    readOnly: true
{{- end }}
{{- end -}}

{{/* Its volumes. Secrets are readable by owner (root) and group, and by nobody else: imapwarden refuses others. */}}
{{- define "imapwarden.volumes" -}}
- name: imapwarden-config
  configMap:
    name: {{ include "imapwarden.fullname" . }}
- name: imapwarden-data
{{- if .claim }}
  persistentVolumeClaim:
    claimName: {{ .claim }}
{{- else if include "imapwarden.shared" . }}
  # The control socket; what must be kept is in the database.
  emptyDir:
    sizeLimit: 16Mi
{{- else }}
  persistentVolumeClaim:
    claimName: {{ include "imapwarden.claim" . }}
{{- end }}
{{- with include "imapwarden.storeVolumes" . | trim }}
{{ . }}
{{- end }}
{{- with include "imapwarden.tlsSecret" . }}
- name: imapwarden-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- if .Values.keyFile.secretName }}
- name: imapwarden-key
  secret:
    secretName: {{ .Values.keyFile.secretName }}
    defaultMode: 0440
    items:
      - {key: {{ .Values.keyFile.key | quote }}, path: imapwarden.key}
{{- end }}
{{- range $name, $from := .Values.files }}
- name: imapwarden-file-{{ $name }}
  {{- if $from.secretName }}
  secret:
    secretName: {{ $from.secretName }}
    defaultMode: 0440
  {{- else }}
  configMap:
    name: {{ $from.configMapName }}
    defaultMode: 0440
  {{- end }}
{{- end }}
{{- end -}}

{{/* Gives the data directory to imapwarden where no fsGroup does. */}}
{{- define "imapwarden.ownerContainer" -}}
name: imapwarden-owner
image: {{ include "imapwarden.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [chown, "65532:65532", /var/lib/imapwarden]
resources:
  requests: {cpu: 10m, memory: 16Mi}
  limits: {memory: 32Mi}
securityContext:
  runAsUser: 0
  runAsGroup: 0
  runAsNonRoot: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
    add: [CHOWN]
  seccompProfile:
    type: RuntimeDefault
volumeMounts:
  - name: imapwarden-data
    mountPath: /var/lib/imapwarden
{{- end -}}
