{{/*
What the operator may do where it looks after resources, and no more: a test compares this list
with what the code asks for. There is nothing about Secrets, and no way to run a command in a pod.
*/}}
{{- define "torchyard.rules" -}}
- apiGroups: [torchyard.dev]
  resources: [trainingjobs]
  # Deleted when ttlSecondsAfterFinished is over.
  verbs: [get, list, watch, delete]
- apiGroups: [torchyard.dev]
  resources: [modelservices]
  verbs: [get, list, watch]
- apiGroups: [torchyard.dev]
  resources: [trainingjobs/status, modelservices/status]
  verbs: [patch]
- apiGroups: [torchyard.dev]
  resources: [modelversions]
  verbs: [get, list, watch, create]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
# Server-side apply takes both verbs, create and patch; what has an owner goes with its owner.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "torchyard.subjects" -}}
- kind: ServiceAccount
  name: {{ include "torchyard.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
