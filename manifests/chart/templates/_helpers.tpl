{{/* A file of the chart, in the release's namespace. */}}
{{- define "corepin.file" -}}
{{ .root.Files.Get (printf "files/%s" .name) | replace "corepin-system" .root.Release.Namespace }}
{{- end }}

{{/* The minor of Kubernetes that the scheduler is to be built on; nothing in a chart that is not a release's. A release has an
image for each of several. A scheduler may not be newer than the API server, so it is the newest of those that are not. */}}
{{- define "corepin.minor" -}}
{{- $minor := .Values.scheduler.kubernetes -}}
{{- if not $minor -}}
{{- $cluster := int (regexFind "^[0-9]+" .Capabilities.KubeVersion.Minor) -}}
{{- $best := 0 -}}
{{- range $name, $digest := default dict .Chart.Annotations -}}
{{- $n := int (regexReplaceAll "^corepin\\.dev/scheduler-k1\\.([0-9]+)-digest$" $name "$1") -}}
{{- if and (gt $n $best) (le $n $cluster) }}{{ $best = $n }}{{ end -}}
{{- end -}}
{{- if $best }}{{ $minor = printf "1.%d" $best }}{{ end -}}
{{- end -}}
{{- $minor -}}
{{- end }}

{{/* The image of a component: scheduler or agent. The chart of a release has the digests of its images as annotations, which
hold as long as nobody names another tag. */}}
{{- define "corepin.image" -}}
{{- $tag := .root.Values.image.tag -}}
{{- $digest := index .root.Values.image.digests .component -}}
{{- $suffix := "" -}}
{{- if eq .component "scheduler" }}{{ with include "corepin.minor" .root }}{{ $suffix = printf "-k%s" . }}{{ end }}{{ end -}}
{{- if not (or $tag $digest) }}{{ $digest = index (default dict .root.Chart.Annotations) (printf "corepin.dev/%s%s-digest" .component $suffix) }}{{ end -}}
{{- printf "%s/corepin-%s:%s%s" .root.Values.image.repository .component ($tag | default .root.Chart.AppVersion) $suffix -}}
{{- with $digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* Puts the values that both workloads have into one. It changes .workload and prints nothing. */}}
{{- define "corepin.workload" -}}
{{- $v := index .root.Values .component -}}
{{- $image := .root.Values.image -}}
{{- $template := .workload.spec.template -}}
{{- $pod := $template.spec -}}
{{- $container := index $pod.containers 0 -}}
{{- $_ := set $container "image" (include "corepin.image" .) -}}
{{- with $image.pullPolicy }}{{ $_ := set $container "imagePullPolicy" . }}{{ end -}}
{{- with $image.pullSecrets -}}
{{- $secrets := list }}{{ range . }}{{ $secrets = append $secrets (dict "name" .) }}{{ end -}}
{{- $_ := set $pod "imagePullSecrets" $secrets -}}
{{- end -}}
{{- with $v.resources }}{{ $_ := set $container "resources" (mergeOverwrite (deepCopy $container.resources) .) }}{{ end -}}
{{- with $v.nodeSelector }}{{ $_ := set $pod "nodeSelector" (mergeOverwrite (deepCopy $pod.nodeSelector) .) }}{{ end -}}
{{- with $v.tolerations }}{{ $_ := set $pod "tolerations" . }}{{ end -}}
{{- with $v.appArmorProfile }}{{ $_ := set $pod.securityContext "appArmorProfile" (dict "type" "Localhost" "localhostProfile" .) }}{{ end -}}
{{- with $v.priorityClassName }}{{ $_ := set $pod "priorityClassName" . }}{{ end -}}
{{- $args := list }}{{ range $container.args }}{{ $args = append $args (ternary (printf "--v=%v" $v.verbosity) . (hasPrefix "--v=" .)) }}{{ end -}}
{{- $_ := set $container "args" $args -}}
{{- range $pod.volumes -}}
{{- if .configMap }}{{ $_ := set .configMap "name" (printf "corepin-%s-config" $.component) }}{{ end -}}
{{- end -}}
{{/* A changed configuration rolls the pods. */}}
{{- $annotations := dict "checksum/config" (sha256sum .config) -}}
{{- $_ := set $template.metadata "annotations" (mergeOverwrite $annotations (default dict $template.metadata.annotations) $v.podAnnotations) -}}
{{- end }}

{{/* The ConfigMap of a component's configuration file. */}}
{{- define "corepin.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: corepin-{{ .component }}-config
  namespace: {{ .root.Release.Namespace }}
  labels:
    app.kubernetes.io/part-of: corepin
data:
  config.yaml: |
{{ .config | trimSuffix "\n" | indent 4 }}
{{- end }}

{{/* The scheduler's configuration file. */}}
{{- define "corepin.schedulerConfig" -}}
{{- $name := ternary "scheduler-config-single-process.yaml" "scheduler-config.yaml" .Values.scheduler.singleProcess -}}
{{- $text := include "corepin.file" (dict "root" . "name" $name) -}}
{{- if .Values.scheduler.args -}}
{{- $config := fromYaml $text -}}
{{- $head := dict "apiVersion" "scheduler.corepin.dev/v1alpha1" "kind" "DedicatedCPUArgs" -}}
{{- range $config.profiles -}}
{{- $args := deepCopy $head -}}
{{- range .pluginConfig }}{{ $args = mergeOverwrite $args .args }}{{ end -}}
{{- $_ := set . "pluginConfig" (list (dict "name" "DedicatedCPU" "args" (mergeOverwrite $args $.Values.scheduler.args))) -}}
{{- end -}}
{{- toYaml $config }}
{{ else -}}
{{- $text }}
{{ end -}}
{{- end }}

{{/* The agent's configuration file. */}}
{{- define "corepin.agentConfig" -}}
{{- $text := include "corepin.file" (dict "root" . "name" "agent-config.yaml") -}}
{{- $changed := deepCopy .Values.agent.config -}}
{{- if ne .Values.agent.kubeletRootDir "/var/lib/kubelet" }}{{ $_ := set $changed "kubeletRootDir" .Values.agent.kubeletRootDir }}{{ end -}}
{{- if $changed -}}
{{- toYaml (mergeOverwrite (fromYaml $text) $changed) }}
{{ else -}}
{{- $text }}
{{ end -}}
{{- end }}
