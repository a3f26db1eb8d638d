package main

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"leyden.ai/leyden-go"
)

// followed reads a generation, and leaves it where that is asked for.
func followed(
	events iter.Seq2[leyden.Event, error], cancel context.CancelFunc, ask *ask, answer *answer,
) error {
	seen := 0
	for event, err := range events {
		if errors.Is(err, context.Canceled) {
			answer.Left = leyden.Ptr("cancel")
			return nil
		}
		if err != nil {
			return err
		}
		kind := answer.record(event)
		if leave := ask.Leave; leave != nil {
			if kind == leave.After {
				seen++
			}
			if seen >= leave.Count {
				if leave.By == "break" {
					answer.Left = leyden.Ptr("break")
					break
				}
				cancel()
			}
		}
		time.Sleep(time.Duration(ask.PauseMS * float64(time.Millisecond)))
	}
	return nil
}

type measurement struct {
	Name       string     `json:"name"`
	LatenciesS []float64  `json:"latencies_s"`
	ElapsedS   float64    `json:"elapsed_s"`
	Error      *callError `json:"error,omitempty"`
}

// measured generates Requests times by Streams at once over one client, and tells how long each took.
func measured(ctx context.Context, client *leyden.Client, ask *ask) *measurement {
	result := &measurement{Name: ask.Name, LatenciesS: []float64{}}
	work := make(chan struct{}, ask.Requests)
	for range ask.Requests {
		work <- struct{}{}
	}
	close(work)

	var streams sync.WaitGroup
	var mu sync.Mutex
	begun := time.Now()
	for range ask.Streams {
		streams.Go(func() {
			for range work {
				started := time.Now()
				_, err := client.GenerateImage(ctx, leyden.Request{Prompt: "a lake"})
				took := time.Since(started).Seconds()
				mu.Lock()
				if err != nil {
					failed := newAnswer(ask.Name)
					failed.fail(err)
					result.Error = failed.Error
				} else {
					result.LatenciesS = append(result.LatenciesS, took)
				}
				mu.Unlock()
			}
		})
	}
	streams.Wait()
	result.ElapsedS = time.Since(begun).Seconds()
	return result
}
