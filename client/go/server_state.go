package leyden

import (
	"context"
	"time"

	"leyden.ai/leyden-go/leydenv1"
)

// ServerState is what a server does now.
type ServerState struct {
	// Stages are the stages of all loaded models, each once, a model's in the order in which an
	// image goes through them.
	Stages []*StageState
	// Gateways are those whose lines are counted, the one that has answered first.
	Gateways []*GatewayState
	// Bottleneck is the name of the stage that holds up the others; empty: none does.
	Bottleneck string
	// BottleneckReason says why, or why none does.
	BottleneckReason string
}

// StageState is a stage over all of its replicas.
type StageState struct {
	// Name is that of its Serve application; in a server of one process, what that would be.
	Name string
	// Kind says which stage of a model it is.
	Kind StageKind
	// Models are the names of the models that share it.
	Models []string
	// RunningReplicas run, WantedReplicas are to be there now.
	RunningReplicas, WantedReplicas int32
	// RunningCount are the prompts (of text encoders) or images that its replicas work on.
	RunningCount int32
	// WaitingCount are those that wait for it; for a denoiser in the Gateways' lines too.
	WaitingCount int32
	// BusyShare is the part of the last 10 s in which its model ran, from 0 to 1: the mean over
	// its replicas. Nil: none of them has answered.
	BusyShare *float64
	// Problem says why it is gone; empty where it is there, is started, or rests.
	Problem string
}

// GatewayState is a process of the server that speaks gRPC.
type GatewayState struct {
	// Replica is its name, as in Bill.GatewayReplica.
	Replica string
	// Uptime is for how long it has been there.
	Uptime time.Duration
	// Draining says whether it refuses new requests because it ends.
	Draining bool
	// OpenStreamCount are the calls that watch a generation.
	OpenStreamCount int32
	// WaitingImageCount are the images that it has accepted and no denoise step has begun for.
	WaitingImageCount int32
}

// GetServerState returns what the server does now; for operators. The error is [ErrPermissionDenied]
// for whoever is none.
func (c *Client) GetServerState(ctx context.Context) (*ServerState, error) {
	response, err := unary(ctx, c, c.models.GetServerState, &leydenv1.GetServerStateRequest{})
	if err != nil {
		return nil, err
	}
	state := &ServerState{
		Bottleneck:       response.GetBottleneck(),
		BottleneckReason: response.GetBottleneckReason(),
	}
	for _, message := range response.GetStages() {
		state.Stages = append(state.Stages, stageStateOf(message))
	}
	for _, message := range response.GetGateways() {
		state.Gateways = append(state.Gateways, &GatewayState{
			Replica:           message.GetReplica(),
			Uptime:            message.GetUptimeDuration().AsDuration(),
			Draining:          message.GetDraining(),
			OpenStreamCount:   message.GetOpenStreamCount(),
			WaitingImageCount: message.GetWaitingImageCount(),
		})
	}
	return state, nil
}

func stageStateOf(message *leydenv1.StageState) *StageState {
	return &StageState{
		Name:            message.GetName(),
		Kind:            StageKind(message.GetKind()),
		Models:          message.GetModels(),
		RunningReplicas: message.GetRunningReplicas(),
		WantedReplicas:  message.GetWantedReplicas(),
		RunningCount:    message.GetRunningCount(),
		WaitingCount:    message.GetWaitingCount(),
		BusyShare:       message.BusyShare,
		Problem:         message.GetProblem(),
	}
}
