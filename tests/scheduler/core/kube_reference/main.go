// Scores pods on nodes with the real kube-scheduler plugins, to compare our own arithmetic with.
//
// Standard input holds one JSON case a line; one JSON answer a line goes to standard output. Pods and nodes are real API
// objects, the plugins are built by their own constructors from kube-scheduler's default configuration, and the weights
// come from it too. Nothing here computes a score.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
)

// A Container names some requests; what it leaves out it does not ask for.
type Container struct {
	CPUMilli    *int64 `json:"cpu_milli"`
	MemoryBytes *int64 `json:"memory_bytes"`
	GPUs        *int64 `json:"gpus"`
}

// A Case is one node, the pods on it, and one pod to score.
type Case struct {
	CPUMilli    int64         `json:"cpu_milli"`
	MemoryBytes int64         `json:"memory_bytes"`
	GPUs        int64         `json:"gpus"`
	Pods        [][]Container `json:"pods"`
	Pod         []Container   `json:"pod"`
}

// An Answer holds each plugin's score (nil: the plugin skipped the pod), the weighted sum of the two that are on by
// default, and what the scheduler counts as requested on the node.
type Answer struct {
	Least            int64    `json:"least"`
	Balanced         *int64   `json:"balanced"`
	Most             int64    `json:"most"`
	Default          int64    `json:"default"`
	Requested        [2]int64 `json:"requested"`
	RequestedNonzero [2]int64 `json:"requested_nonzero"`
}

const gpu = v1.ResourceName("nvidia.com/gpu")

func makePod(name string, containers []Container) *v1.Pod {
	pod := &v1.Pod{}
	pod.Name = name
	for i, asked := range containers {
		requests := v1.ResourceList{}
		if asked.CPUMilli != nil {
			requests[v1.ResourceCPU] = *resource.NewMilliQuantity(*asked.CPUMilli, resource.DecimalSI)
		}
		if asked.MemoryBytes != nil {
			requests[v1.ResourceMemory] = *resource.NewQuantity(*asked.MemoryBytes, resource.BinarySI)
		}
		if asked.GPUs != nil {
			requests[gpu] = *resource.NewQuantity(*asked.GPUs, resource.DecimalSI)
		}
		pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{
			Name:      fmt.Sprintf("c%d", i),
			Resources: v1.ResourceRequirements{Requests: requests},
		})
	}
	return pod
}

func makeNode(one Case) *framework.NodeInfo {
	var pods []*v1.Pod
	for i, containers := range one.Pods {
		pods = append(pods, makePod(fmt.Sprintf("running-%d", i), containers))
	}
	node := &v1.Node{}
	node.Name = "node"
	node.Status.Allocatable = v1.ResourceList{
		v1.ResourceCPU:    *resource.NewMilliQuantity(one.CPUMilli, resource.DecimalSI),
		v1.ResourceMemory: *resource.NewQuantity(one.MemoryBytes, resource.BinarySI),
		v1.ResourcePods:   *resource.NewQuantity(110, resource.DecimalSI),
		gpu:               *resource.NewQuantity(one.GPUs, resource.DecimalSI),
	}
	info := framework.NewNodeInfo(pods...)
	info.SetNode(node)
	return info
}

// score returns nil where the plugin's PreScore skips the pod.
func score(ctx context.Context, plugin fwk.Plugin, pod *v1.Pod, node *framework.NodeInfo) *int64 {
	state := framework.NewCycleState()
	if status := plugin.(fwk.PreScorePlugin).PreScore(ctx, state, pod, []fwk.NodeInfo{node}); status.IsSkip() {
		return nil
	} else if !status.IsSuccess() {
		panic(status.AsError())
	}
	value, status := plugin.(fwk.ScorePlugin).Score(ctx, state, pod, node)
	if !status.IsSuccess() {
		panic(status.AsError())
	}
	if plugin.(fwk.ScorePlugin).ScoreExtensions() != nil {
		panic(plugin.Name() + " normalises its scores; this program does not")
	}
	return &value
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	ctx := context.Background()
	features := feature.NewSchedulerFeaturesFromGates(utilfeature.DefaultFeatureGate)
	features.EnableDRAExtendedResource = false // needs informers; without device classes it changes no score
	profile := must(latest.Default()).Profiles[0]
	weight := map[string]int64{}
	for _, plugin := range profile.Plugins.MultiPoint.Enabled {
		weight[plugin.Name] = int64(plugin.Weight)
	}
	handle := must(runtime.NewFramework(ctx, nil, nil))
	var least, most, balanced fwk.Plugin
	for _, entry := range profile.PluginConfig {
		switch args := entry.Args.(type) {
		case *config.NodeResourcesFitArgs:
			least = must(noderesources.NewFit(ctx, args, handle, features))
			packed := args.DeepCopy()
			packed.ScoringStrategy.Type = config.MostAllocated
			most = must(noderesources.NewFit(ctx, packed, handle, features))
		case *config.NodeResourcesBalancedAllocationArgs:
			balanced = must(noderesources.NewBalancedAllocation(ctx, args, handle, features))
		}
	}

	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		var one Case
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			panic(err)
		}
		pod, node := makePod("incoming", one.Pod), makeNode(one)
		answer := Answer{
			Least:            *score(ctx, least, pod, node),
			Balanced:         score(ctx, balanced, pod, node),
			Most:             *score(ctx, most, pod, node),
			Requested:        [2]int64{node.Requested.MilliCPU, node.Requested.Memory},
			RequestedNonzero: [2]int64{node.NonZeroRequested.MilliCPU, node.NonZeroRequested.Memory},
		}
		answer.Default = weight[least.Name()] * answer.Least
		if answer.Balanced != nil {
			answer.Default += weight[balanced.Name()] * *answer.Balanced
		}
		fmt.Fprintln(out, string(must(json.Marshal(answer))))
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
}
