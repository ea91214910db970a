{{/* True where the store is a database, which several pods share. */}}
{{- define "imapwarden.shared" -}}
{{- if .Values.store.url.secretName -}}true{{- end -}}
{{- end -}}

{{/* True while an SQLite store is taken over. */}}
{{- define "imapwarden.migrating" -}}
{{- if .Values.store.migrateFrom -}}true{{- end -}}
{{- end -}}

{{/* What goes with which store. */}}
{{- define "imapwarden.checkStore" -}}
{{- $several := or (gt (int .Values.replicaCount) 1) .Values.autoscaling.enabled -}}
{{- if include "imapwarden.shared" . -}}
{{- if not .Values.keyFile.secretName -}}
{{- fail "keyFile.secretName must be given with store.url: all replicas need the same key file" -}}
{{- end -}}
{{- if not (include "imapwarden.tlsSecret" .) -}}
{{- fail "tls.secretName or tls.certManager must be given with store.url: each replica would make a certificate of its own" -}}
{{- end -}}
{{- if and .Values.store.authority.secretName .Values.store.authority.configMapName -}}
{{- fail "store.authority is in a Secret or in a ConfigMap, not in both: keep one of secretName and configMapName" -}}
{{- end -}}
{{- if and $several (eq .Values.mode "sidecar") -}}
{{- fail "replicaCount and autoscaling have no effect in sidecar mode: the mail server's own Deployment says how many pods there are" -}}
{{- end -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- else -}}
{{- if gt (int .Values.replicaCount) 1 -}}
{{- fail (printf "replicaCount is %d, and the store is one SQLite file, which one pod alone may use: name a PostgreSQL database in store.url.secretName" (int .Values.replicaCount)) -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- fail "autoscaling.enabled needs a store that several pods share: name a PostgreSQL database in store.url.secretName" -}}
{{- end -}}
{{- with .Values.store -}}
{{- if or .password.secretName .authority.secretName .authority.configMapName .dangerPlaintext .migrateFrom -}}
{{- fail "store has no effect without store.url.secretName, which names the Secret with the database's URL" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The files that the store needs, in the container. */}}
{{- define "imapwarden.storeMounts" -}}
{{- if include "imapwarden.shared" . }}
- name: imapwarden-store
  mountPath: /etc/imapwarden/store
  readOnly: true
{{- if .Values.store.password.secretName }}
- name: imapwarden-store-password
  mountPath: /etc/imapwarden/store-password
  readOnly: true
{{- end }}
{{- if or .Values.store.authority.secretName .Values.store.authority.configMapName }}
- name: imapwarden-store-authority
  mountPath: /etc/imapwarden/store-authority
  readOnly: true
{{- end }}
{{- end }}
{{- end -}}

{{/* Where they come from. */}}
{{- define "imapwarden.storeVolumes" -}}
{{- if include "imapwarden.shared" . }}
{{- with .Values.store }}
- name: imapwarden-store
  secret:
    secretName: {{ .url.secretName }}
    defaultMode: 0440
    items:
      - {key: {{ .url.key | quote }}, path: url}
{{- if .password.secretName }}
- name: imapwarden-store-password
  secret:
    secretName: {{ .password.secretName }}
    defaultMode: 0440
    items:
      - {key: {{ .password.key | quote }}, path: password}
{{- end }}
{{- if .authority.secretName }}
- name: imapwarden-store-authority
  secret:
    secretName: {{ .authority.secretName }}
    defaultMode: 0440
    items:
      - {key: {{ .authority.key | quote }}, path: ca.crt}
{{- else if .authority.configMapName }}
- name: imapwarden-store-authority
  configMap:
    name: {{ .authority.configMapName }}
    defaultMode: 0440
    items:
      - {key: {{ .authority.key | quote }}, path: ca.crt}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
