{{- define "djservice.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "djservice.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* What the Dask operator gives its pods too, so that policies and services find both kinds. */}}
{{- define "djservice.pods" -}}
dask.org/cluster-name: {{ include "djservice.name" . }}
{{- end }}

{{- define "djservice.address" -}}
{{ ternary "tls" "tcp" .Values.tls.enabled }}://{{ include "djservice.name" . }}-scheduler:8786
{{- end }}

{{- /* (dict "root" $ "image" .Values.image) */}}
{{- define "djservice.image" -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}{{ else }}{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "djservice.pod" -}}
serviceAccountName: {{ include "djservice.name" . }}
automountServiceAccountToken: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
volumes:
  - name: data
    persistentVolumeClaim: {claimName: {{ .Values.storage.existingClaim | default (include "djservice.name" .) }}}
  - name: tmp
    emptyDir: {}
  - name: runs
    configMap: {name: {{ include "djservice.name" . }}}
  {{- with .Values.inputSecret }}
  - name: inputs
    secret: {secretName: {{ . }}, defaultMode: 0440}
  {{- end }}
  {{- if .Values.tls.enabled }}
  - name: certificates
    secret: {secretName: {{ .Values.tls.existingSecret | default (printf "%s-tls" (include "djservice.name" .)) }}, defaultMode: 0440}
  {{- end }}
{{- end }}

{{- define "djservice.container" -}}
imagePullPolicy: Always
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: data, mountPath: /data}
  - {name: tmp, mountPath: /tmp}
  - {name: runs, mountPath: /runs, readOnly: true}
  {{- if .Values.inputSecret }}
  - {name: inputs, mountPath: /secrets, readOnly: true}
  {{- end }}
  {{- if .Values.tls.enabled }}
  - {name: certificates, mountPath: /certificates, readOnly: true}
  {{- end }}
env:
  - {name: HOME, value: /tmp}
  - {name: NUMBA_CACHE_DIR, value: /tmp/numba}
  - {name: DASK_TEMPORARY_DIRECTORY, value: /tmp}
  - {name: DJSERVICE_CHART_VERSION, value: {{ .Chart.AppVersion | quote }}}
  - {name: DJSERVICE_SCHEDULER, value: {{ include "djservice.address" . | quote }}}
  {{- if .Values.inputSecret }}
  - {name: AWS_SHARED_CREDENTIALS_FILE, value: /secrets/credentials}
  - {name: BEARER_TOKEN_FILE, value: /secrets/token}
  {{- end }}
  {{- if .Values.tls.enabled }}
  - {name: DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION, value: "true"}
  - {name: DASK_DISTRIBUTED__COMM__TLS__CA_FILE, value: /certificates/ca.crt}
  {{- range $role := list "SCHEDULER" "WORKER" "CLIENT" }}
  - {name: DASK_DISTRIBUTED__COMM__TLS__{{ $role }}__CERT, value: /certificates/tls.crt}
  - {name: DASK_DISTRIBUTED__COMM__TLS__{{ $role }}__KEY, value: /certificates/tls.key}
  {{- end }}
  {{- end }}
{{- end }}

{{- define "djservice.schedulerSpec" -}}
{{ include "djservice.pod" . }}
containers:
  - name: scheduler
    image: {{ include "djservice.image" (dict "root" . "image" .Values.image) }}
    args:
      - dask
      - scheduler
      - --protocol={{ ternary "tls" "tcp" .Values.tls.enabled }}
      - --port=8786
      - --dashboard-address=:8787
      - --preload=djservice.preload
      - --state-directory=/data/state
      - --concurrent-runs={{ .Values.scheduler.concurrentRuns }}
    ports:
      - {name: tcp-comm, containerPort: 8786}
      - {name: http-dashboard, containerPort: 8787}
    startupProbe: {httpGet: {path: /health, port: http-dashboard}, periodSeconds: 5, failureThreshold: 24}
    readinessProbe: {httpGet: {path: /health, port: http-dashboard}, periodSeconds: 5}
    livenessProbe: {httpGet: {path: /health, port: http-dashboard}, periodSeconds: 20, timeoutSeconds: 10, failureThreshold: 6}
    resources: {{ toYaml .Values.scheduler.resources | nindent 6 }}
    {{- include "djservice.container" . | nindent 4 }}
{{- end }}

{{- /* (dict "root" $ "workers" .Values.workers "image" .Values.image "command" (list "dask" "worker")) */}}
{{- define "djservice.workerSpec" -}}
{{ include "djservice.pod" .root }}
{{- with .workers.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .workers.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
# A worker whose scheduler goes leaves with exit code 0, and is wanted again all the same.
restartPolicy: Always
containers:
  - name: worker
    image: {{ include "djservice.image" (dict "root" .root "image" .image) }}
    args:
      {{- range .command }}
      - {{ . }}
      {{- end }}
      - {{ include "djservice.address" .root }}
      - --protocol={{ ternary "tls" "tcp" .root.Values.tls.enabled }}
      - --local-directory=/tmp
      - --dashboard-address=:8788
    ports:
      - {name: http-dashboard, containerPort: 8788}
    startupProbe: {httpGet: {path: /health, port: http-dashboard}, periodSeconds: 10, failureThreshold: 30}
    readinessProbe: {httpGet: {path: /health, port: http-dashboard}, periodSeconds: 10}
    livenessProbe: {httpGet: {path: /health, port: http-dashboard}, periodSeconds: 20, timeoutSeconds: 10, failureThreshold: 6}
    resources: {{ toYaml .resources | nindent 6 }}
    {{- include "djservice.container" .root | nindent 4 }}
{{- end }}
