package leyden_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"testing"

	"leyden.ai/leyden-go"
)

// target is where the examples find a server: leyden.DefaultTarget where one runs.
var target string

func TestMain(m *testing.M) {
	server := newServer(script{events: whole()})
	stop := server.start()
	target = server.target
	code := m.Run()
	stop()
	os.Exit(code)
}

func Example() {
	client, err := leyden.NewClient(target)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	generation, err := client.GenerateImage(context.Background(), leyden.Request{
		Prompt: "a lighthouse at dusk",
		Seed:   leyden.Ptr(int64(7)),
	})
	if err != nil {
		log.Fatal(err)
	}
	image := generation.Images[0]
	fmt.Printf("%s made a %s from seed %d\n", generation.Summary.Model, image.Format, image.Seed)
	// Output: tiny made a png from seed 7
}

func ExampleClient_StreamImage() {
	client, err := leyden.NewClient(target)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	request := leyden.Request{Prompt: "a lighthouse at dusk"}
	for event, err := range client.StreamImage(context.Background(), request) {
		if err != nil {
			log.Fatal(err)
		}
		switch event := event.(type) {
		case *leyden.DenoiseProgress:
			fmt.Printf("step %d of %d\n", event.Step, event.TotalSteps)
		case *leyden.Image:
			fmt.Printf("an image of %d bytes\n", len(event.Data))
		}
	}
	// Output:
	// step 1 of 2
	// step 2 of 2
	// an image of 6 bytes
}

func ExampleError() {
	client, err := leyden.NewClient(target)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	_, err = client.GenerateImage(context.Background(), leyden.Request{WidthPx: 1001})
	var failure *leyden.Error
	switch {
	case errors.Is(err, leyden.ErrOverloaded):
		errors.As(err, &failure)
		fmt.Println("come back after", failure.RetryAfter)
	case errors.As(err, &failure):
		for _, violation := range failure.Violations {
			fmt.Println(violation.Field, violation.Description)
		}
	}
}
