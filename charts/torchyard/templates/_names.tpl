{{/* "torchyard", or the release's name with it where that does not say it. */}}
{{- define "torchyard.name" -}}
{{- if contains "torchyard" .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-torchyard" .Release.Name -}}
{{- end -}}
{{- end -}}

{{/* The same outside the release's namespace, where releases of several namespaces may meet. */}}
{{- define "torchyard.globalName" -}}
{{- printf "%s:%s" .Release.Namespace (include "torchyard.name" .) -}}
{{- end -}}

{{/* Labels that pick the operator's pods; a Deployment can never change them. */}}
{{- define "torchyard.selector" -}}
app.kubernetes.io/name: torchyard
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* The same as key=value,key=value. */}}
{{- define "torchyard.selectorPairs" -}}
{{- $pairs := list -}}
{{- range $key, $value := include "torchyard.selector" . | fromYaml -}}
{{- $pairs = append $pairs (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}

{{- define "torchyard.labels" -}}
{{ include "torchyard.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The reference of one image: (list $ "operator"). A digest decides; a tag beside it is for people. */}}
{{- define "torchyard.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.image (index . 1) -}}
{{- with $root.Values.image.registry }}{{ . }}/{{ end -}}
{{- $image.repository -}}
{{- with $image.tag | default (ternary "" $root.Chart.AppVersion (not (empty $image.digest))) }}:{{ . }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}
