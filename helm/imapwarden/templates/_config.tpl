{{/* One listener, as configured. */}}
{{- define "imapwarden.listener" -}}
address: {{ include "imapwarden.at" (dict "address" .root.Values.listenAddress "port" .port) | quote }}
tls: {{ .tls }}
{{- with .root.Values.proxyProtocol.from }}
proxy_protocol_from:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* imapwarden.yaml: what the chart decides, and what `config` says. */}}
{{- define "imapwarden.config" -}}
{{- $given := .Values.config -}}
{{- range list "data_directory" "store" "key_file" "control_socket" "listeners" "metrics" "drain" -}}
{{- if hasKey $given . -}}
{{- fail (printf "config.%s is written by the chart itself: see listenAddress, service, proxyProtocol, keyFile, store, metrics and drain in values.yaml" .) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (default dict $given.tls) "certificates" -}}
{{- fail "config.tls.certificates is written by the chart itself: set tls.secretName or tls.certManager" -}}
{{- end -}}
{{- include "imapwarden.checkStore" . -}}
{{- if not $given.backends -}}
{{- fail "config.backends must be given: the mail servers, for example [{address: \"dovecot.mail.svc.cluster.local:143\"}]" -}}
{{- end -}}
data_directory: /var/lib/imapwarden
{{- if include "imapwarden.shared" . }}
{{- with .Values.store }}
store:
  url_file: /etc/imapwarden/store/url
  {{- if .password.secretName }}
  password_file: /etc/imapwarden/store-password/password
  {{- end }}
  {{- if or .authority.secretName .authority.configMapName }}
  ca_file: /etc/imapwarden/store-authority/ca.crt
  {{- end }}
  {{- if .dangerPlaintext }}
  danger_plaintext: true
  {{- end }}
  connections: {{ int .connections }}
{{- end }}
{{- end }}
{{- if .Values.keyFile.secretName }}
key_file: /etc/imapwarden/key/imapwarden.key
{{- end }}
listeners:
  - {{ include "imapwarden.listener" (dict "root" . "port" 1993 "tls" "implicit") | indent 4 | trim }}
{{- if .Values.service.starttls.enabled }}
  - {{ include "imapwarden.listener" (dict "root" . "port" 1143 "tls" "starttls") | indent 4 | trim }}
{{- end }}
metrics:
  address: {{ include "imapwarden.at" (dict "address" .Values.listenAddress "port" 9993) | quote }}
drain:
  timeout: {{ int .Values.drain.timeoutSeconds }}s
  spread: {{ int .Values.drain.spreadSeconds }}s
{{- $tls := default dict $given.tls -}}
{{- if include "imapwarden.tlsSecret" . -}}
{{- $pair := dict "certificate_file" "/etc/imapwarden/tls/tls.crt" "key_file" "/etc/imapwarden/tls/tls.key" -}}
{{- $tls = merge (dict "certificates" (list $pair)) $tls -}}
{{- end }}
{{- if $tls }}
tls:
  {{- toYaml $tls | nindent 2 }}
{{- end }}
{{- with omit $given "tls" }}
{{ toYaml . }}
{{- end }}
{{- end -}}
