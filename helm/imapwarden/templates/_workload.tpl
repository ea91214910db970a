{{/* The pod of our own, for a StatefulSet or a Deployment. */}}
{{- define "imapwarden.template" -}}
template:
  metadata:
    labels:
      {{- include "imapwarden.labels" . | nindent 6 }}
      {{- with .Values.podLabels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    annotations:
      checksum/config: {{ include "imapwarden.config" . | sha256sum }}
      {{- with .Values.podAnnotations }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  spec:
    automountServiceAccountToken: false
    enableServiceLinks: false
    {{- with .Values.imagePullSecrets }}
    imagePullSecrets:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.priorityClassName }}
    priorityClassName: {{ . }}
    {{- end }}
    terminationGracePeriodSeconds: {{ include "imapwarden.gracePeriod" . }}
    securityContext:
      runAsNonRoot: true
      runAsUser: 65532
      runAsGroup: 65532
      fsGroup: 65532
      # Always would open the key file to the group at each start, and imapwarden refuses such a one.
      fsGroupChangePolicy: OnRootMismatch
      seccompProfile:
        type: RuntimeDefault
    containers:
      - {{ include "imapwarden.container" . | indent 8 | trim }}
    {{- if include "imapwarden.shared" . }}
    topologySpreadConstraints:
      # Not all on one machine, where there are others.
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: ScheduleAnyway
        labelSelector:
          matchLabels:
            {{- include "imapwarden.selectorLabels" . | nindent 12 }}
    {{- end }}
    volumes:
      {{- include "imapwarden.volumes" . | nindent 6 }}
    {{- with .Values.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.affinity }}
    affinity:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end -}}
