// Package leyden is the client of Leyden, a gRPC model server for SDXL-Lightning.
//
//	client, err := leyden.NewClient("127.0.0.1:8001")
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//	generation, err := client.GenerateImage(ctx, leyden.Request{Prompt: "a lighthouse at dusk"})
//	if err != nil {
//		return err
//	}
//	return generation.Images[0].Save("lighthouse.png")
//
// [Client.GenerateImage] waits for the whole; [Client.StreamImage] is an iterator over typed events
// as the server works. The context of a call is its cancellation and its deadline.
//
// What can go wrong is an [*Error], whose [Kind] errors.Is finds, or a [*ProtocolError].
//
// The messages and stubs of the API are in the package leydenv1.
package leyden

// Version is the version of this module, which the server is told as the user agent.
const Version = "0.1.0"
