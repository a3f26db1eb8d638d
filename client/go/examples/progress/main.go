// Command progress generates an image, shows a progress bar meanwhile, and writes the file:
//
//	go run ./examples/progress -o lighthouse.png "a lighthouse at dusk"
//
// Ctrl-C ends the generation on the server too.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"leyden.ai/leyden-go"
)

const barWidth = 30

func main() {
	server := flag.String("server", leyden.DefaultTarget, "host:port of the server")
	output := flag.String("o", "image.png", "file to write")
	flag.Parse()
	prompt := strings.Join(flag.Args(), " ")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := generate(ctx, *server, prompt, *output); err != nil {
		fmt.Fprintln(os.Stderr, "\n"+err.Error())
		os.Exit(1)
	}
}

func generate(ctx context.Context, server, prompt, output string) error {
	client, err := leyden.NewClient(server)
	if err != nil {
		return err
	}
	defer client.Close()

	for event, err := range client.StreamImage(ctx, leyden.Request{Prompt: prompt}) {
		if err != nil {
			return err
		}
		switch event := event.(type) {
		case *leyden.Queued:
			fmt.Printf("\rqueued, %d ahead", event.Position)
		case *leyden.DenoiseProgress:
			done := barWidth * int(event.Step) / int(event.TotalSteps)
			fmt.Printf("\r[%s%s] step %d of %d", strings.Repeat("#", done),
				strings.Repeat(".", barWidth-done), event.Step, event.TotalSteps)
		case *leyden.Image:
			if err := event.Save(output); err != nil {
				return err
			}
			fmt.Printf("\n%s: %d x %d px, seed %d\n", output, event.WidthPx, event.HeightPx, event.Seed)
		case *leyden.Summary:
			for _, warning := range event.Warnings {
				fmt.Println("warning:", warning.Message)
			}
		}
	}
	return nil
}
