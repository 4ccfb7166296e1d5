{{- define "stowage.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Objects without a namespace carry it in the name, so that two releases of one name do not meet. */}}
{{- define "stowage.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "stowage.fullname" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "stowage.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "stowage.selector" . }}
{{- end }}

{{/* What never changes over upgrades: selectors are immutable. */}}
{{- define "stowage.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Not the chart's version: a new chart with the same image and configuration restarts nothing. */}}
{{- define "stowage.podLabels" -}}
{{ include "stowage.selector" .context }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "stowage.image" -}}
{{- with .Values.image }}
{{- .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{/* Vendors add to the version (v1.33.1-eks-4a5b, v1.33.1+k3s1); the images of kube-scheduler have none of that. */}}
{{- define "stowage.kubeSchedulerImage" -}}
{{- with .Values.scheduler.kubeScheduler.image }}
{{- .repository }}:{{ .tag | default (regexFind "v?[0-9]+\\.[0-9]+\\.[0-9]+" $.Capabilities.KubeVersion.Version) }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{/* Pod Security "restricted": the pod's half. The number is distroless's and our image's nonroot user. */}}
{{- define "stowage.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Pod Security "restricted": the container's half, and a root that cannot be written. */}}
{{- define "stowage.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where our image may write: numba's compiled code, temporary files, what libraries keep in a home. */}}
{{- define "stowage.scratchEnv" -}}
- {name: NUMBA_CACHE_DIR, value: /tmp/numba}
- {name: HOME, value: /tmp}
{{- end }}

{{/* Preferred anti-affinity, not topology spread: that one ignores nodes that lack any of its keys, and many have no zone. */}}
{{- define "stowage.spread" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    {{- range .over }}
    - weight: 100
      podAffinityTerm:
        topologyKey: {{ . }}
        labelSelector:
          matchLabels:
            {{- include "stowage.selector" $.context | nindent 12 }}
            app.kubernetes.io/component: {{ $.component }}
    {{- end }}
{{- end }}

{{/* The lines of a pod's spec that all of ours share. Takes context, component, and the component's values. */}}
{{- define "stowage.podCommon" -}}
{{- with .context.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "stowage.podSecurityContext" . | nindent 2 }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $affinity := deepCopy (.values.affinity | default dict) }}
{{- with .values.spreadOver }}
{{- $affinity = merge $affinity (include "stowage.spread" (dict "context" $.context "component" $.component "over" .) | fromYaml) }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Of our own servers: /healthz says that the loop is alive, /readyz that what it knows is fresh. */}}
{{- define "stowage.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 5
  timeoutSeconds: 2
livenessProbe:
  httpGet: {path: /healthz, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* The Lease is the chart's, empty: so uninstall removes it, and nobody needs the right to create Leases for it. */}}
{{- define "stowage.lease" -}}
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: {{ .name }}
  namespace: {{ .context.Release.Namespace }}
  labels:
    {{- include "stowage.labels" .context | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "stowage.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .context.Release.Namespace }}
  labels:
    {{- include "stowage.labels" .context | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  maxUnavailable: {{ .maxUnavailable }}
  # A pod that is broken anyway must not hold up a drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "stowage.selector" .context | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "stowage.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  namespace: {{ .context.Release.Namespace }}
  labels:
    {{- include "stowage.labels" .context | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
# Pods that call the API mount a token themselves.
automountServiceAccountToken: false
{{- end }}

{{/* One subject, one role: takes kind, name, role kind and name, component, and the namespace of a RoleBinding. */}}
{{- define "stowage.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "stowage.labels" .context | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .roleKind }}
  name: {{ .role }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ .context.Release.Namespace }}
{{- end }}

{{/* What the chart decides, over what the user gives. Host "": every address, of both families, for the probes. */}}
{{- define "stowage.extenderSettings" -}}
{{- mergeOverwrite (deepCopy .Values.scheduler.extender.settings) (dict "host" "" "port" (int .Values.scheduler.extender.port)) | toPrettyJson }}
{{- end }}

{{- define "stowage.plannerSettings" -}}
{{- $lease := dict "lease_namespace" .Release.Namespace "lease_name" (printf "%s-planner" (include "stowage.fullname" .)) }}
{{- $scope := dict "mode" .Values.planner.mode "namespaces" .Values.planner.namespaces "scheduler" .Values.schedulerName "node_health" .Values.planner.nodeHealth "price_round" (.Values.planner.priceRound | default "disabled") "rebalance" (.Values.planner.rebalance | default "disabled") }}
{{- $where := dict "host" "" "port" 8788 "journal" "/var/lib/stowage/journal" }}
{{- mergeOverwrite (deepCopy .Values.planner.settings) $lease $scope $where | toPrettyJson }}
{{- end }}

{{/* With source secret, one Secret has the server's files and another the client's, both yours. */}}
{{- define "stowage.remoteServerSecret" -}}
{{- with .Values.remote.tls }}
{{- if eq .source "secret" }}{{ required "remote.tls.secretName: source secret needs the name of a Secret" .secretName }}
{{- else }}{{ include "stowage.fullname" $ }}-remote-server
{{- end }}
{{- end }}
{{- end }}

{{- define "stowage.remoteClientSecret" -}}
{{- with .Values.remote.tls }}
{{- if eq .source "secret" }}{{ required "remote.tls.clientSecretName: source secret needs the name of a Secret" .clientSecretName }}
{{- else }}{{ include "stowage.fullname" $ }}-remote-client
{{- end }}
{{- end }}
{{- end }}

{{- define "stowage.remoteSettings" -}}
{{- $folder := "/etc/stowage-tls/server" }}
{{- $tls := dict "tls_cert" (printf "%s/tls.crt" $folder) "tls_key" (printf "%s/tls.key" $folder) "tls_client_ca" (printf "%s/ca.crt" $folder) }}
{{- mergeOverwrite (deepCopy .Values.scheduler.extender.settings) (dict "host" "" "port" (int .Values.remote.containerPort)) $tls | toPrettyJson }}
{{- end }}
