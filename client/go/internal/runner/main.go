// Command runner answers the asks of the project's cases by this client: an ask a line on stdin, an
// answer a line on stdout. It judges nothing.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"google.golang.org/grpc/metadata"

	"leyden.ai/leyden-go"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	lines := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		var ask ask
		if err := json.Unmarshal(line, &ask); err != nil {
			return err
		}
		if err := answers.Encode(answerTo(ctx, &ask)); err != nil {
			return err
		}
	}
}

func answerTo(ctx context.Context, ask *ask) any {
	if len(ask.Misspelt) > 0 {
		// A Request is a struct: a field that it has not does not compile.
		return map[string]any{"name": ask.Name, "compile_time": true}
	}
	answer := newAnswer(ask.Name)
	client, err := leyden.NewClient(ask.Target, ask.clientOptions()...)
	if err != nil {
		answer.fail(err)
		return answer
	}
	defer client.Close()
	if ask.Call == "load" {
		return measured(ctx, client, ask)
	}
	if err := called(ctx, client, ask, answer); err != nil {
		answer.fail(err)
	}
	return answer
}

// called makes the call, and notes what is seen.
func called(ctx context.Context, client *leyden.Client, ask *ask, answer *answer) error {
	if ask.Options.TimeoutS != nil {
		limited, cancel := context.WithTimeout(ctx, duration(*ask.Options.TimeoutS))
		defer cancel()
		ctx = limited
	}
	if ask.Traceparent != "" {
		// As OpenTelemetry's propagator does, whose span would be in ctx.
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", ask.Traceparent)
	}
	switch ask.Call {
	case "generate":
		request, err := ask.request()
		if err != nil {
			return err
		}
		cancellable, cancel := context.WithCancel(ctx)
		defer cancel()
		return followed(client.StreamImage(cancellable, request), cancel, ask, answer)
	case "watch":
		cancellable, cancel := context.WithCancel(ctx)
		defer cancel()
		events := client.Watch(cancellable, ask.Request.RequestID)
		if ask.AfterEventIndex != nil {
			events = client.WatchAfter(cancellable, ask.Request.RequestID, *ask.AfterEventIndex)
		}
		return followed(events, cancel, ask, answer)
	case "cancel":
		return client.Cancel(ctx, ask.Request.RequestID)
	case "list_models":
		models, err := client.ListModels(ctx)
		for _, model := range models {
			answer.Models = append(answer.Models, model.Name)
		}
		return err
	case "get_model":
		model, err := client.GetModel(ctx, ask.Request.Model)
		if err == nil {
			answer.Models = append(answer.Models, model.Name)
		}
		return err
	case "load_model":
		model, err := client.LoadModel(ctx, ask.Request.Model)
		if err == nil {
			answer.Models = append(answer.Models, model.Name)
		}
		return err
	case "unload_model":
		return client.UnloadModel(ctx, ask.Request.Model)
	case "get_server_state":
		state, err := client.GetServerState(ctx)
		if err == nil {
			answer.State = stateOf(state)
		}
		return err
	case "wait_until_ready":
		return client.WaitUntilReady(ctx)
	case "start":
		request, err := ask.request()
		if err != nil {
			return err
		}
		requestID, err := client.StartImage(ctx, request)
		answer.RequestID = &requestID
		return err
	default:
		return errors.New("no such call: " + ask.Call)
	}
}
