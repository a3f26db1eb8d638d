package leyden

import (
	"leyden.ai/leyden-go/leydenv1"
)

func headerOf(response *leydenv1.GenerateImageResponse) EventHeader {
	return EventHeader{RequestID: response.GetRequestId(), EventIndex: response.GetEventIndex()}
}

func queuedOf(response *leydenv1.GenerateImageResponse) *Queued {
	message := response.GetQueued()
	event := &Queued{EventHeader: headerOf(response), Position: message.GetPosition()}
	if wait := message.GetExpectedWaitDuration(); wait != nil {
		event.ExpectedWait = Ptr(wait.AsDuration())
	}
	return event
}

func textEncodedOf(response *leydenv1.GenerateImageResponse) *TextEncoded {
	message := response.GetTextEncoded()
	return &TextEncoded{
		EventHeader: headerOf(response),
		TokenCount:  message.GetTokenCount(),
		Truncated:   message.GetTruncated(),
	}
}

func denoiseProgressOf(response *leydenv1.GenerateImageResponse) *DenoiseProgress {
	message := response.GetDenoiseProgress()
	event := &DenoiseProgress{
		EventHeader: headerOf(response),
		ImageIndex:  message.GetImageIndex(),
		Step:        message.GetStep(),
		TotalSteps:  message.GetTotalSteps(),
		Timestep:    message.GetTimestep(),
		Sigma:       message.GetSigma(),
		Elapsed:     message.GetElapsedDuration().AsDuration(),
		Remaining:   message.GetRemainingDuration().AsDuration(),
		BatchRows:   message.GetBatchRows(),
	}
	if preview := message.GetPreview(); preview != nil {
		event.Preview = &Preview{
			Data:     preview.GetData(),
			Format:   OutputFormat(preview.GetFormat()),
			WidthPx:  preview.GetWidthPx(),
			HeightPx: preview.GetHeightPx(),
		}
	}
	return event
}

// imageOf joins an image's header and data; response is the one that completed it.
func imageOf(
	response *leydenv1.GenerateImageResponse, header *leydenv1.Image, data []byte,
) *Image {
	return &Image{
		EventHeader: headerOf(response),
		ImageIndex:  header.GetImageIndex(),
		Seed:        header.GetSeed(),
		Format:      OutputFormat(header.GetFormat()),
		WidthPx:     header.GetWidthPx(),
		HeightPx:    header.GetHeightPx(),
		Data:        data,
	}
}

func summaryOf(response *leydenv1.GenerateImageResponse) *Summary {
	message := response.GetSummary()
	event := &Summary{
		EventHeader:       headerOf(response),
		Model:             message.GetModel(),
		ModelRevision:     message.GetModelRevision(),
		Retries:           message.GetRetries(),
		WidthPx:           message.GetWidthPx(),
		HeightPx:          message.GetHeightPx(),
		NumInferenceSteps: message.GetNumInferenceSteps(),
		GuidanceScale:     message.GetGuidanceScale(),
		Solver:            Solver(message.GetSolver()),
		Bill:              billOf(message.GetBill()),
	}
	for _, warning := range message.GetWarnings() {
		event.Warnings = append(event.Warnings, Warning{
			Reason:  warning.GetReason(),
			Field:   warning.GetField(),
			Message: warning.GetMessage(),
		})
	}
	return event
}

func billOf(message *leydenv1.Bill) Bill {
	bill := Bill{
		Queue:              message.GetQueueDuration().AsDuration(),
		TextEncode:         message.GetTextEncodeDuration().AsDuration(),
		Total:              message.GetTotalDuration().AsDuration(),
		TextEncoderReplica: message.GetTextEncoderReplica(),
		GatewayReplica:     message.GetGatewayReplica(),
	}
	for _, image := range message.GetImages() {
		bill.Images = append(bill.Images, imageBillOf(image))
	}
	return bill
}

func imageBillOf(message *leydenv1.ImageBill) ImageBill {
	bill := ImageBill{
		ImageIndex:          message.GetImageIndex(),
		VAEDecode:           message.GetVaeDecodeDuration().AsDuration(),
		ImageEncode:         message.GetImageEncodeDuration().AsDuration(),
		DenoiserReplica:     message.GetDenoiserReplica(),
		ImageDecoderReplica: message.GetImageDecoderReplica(),
	}
	for _, step := range message.GetSteps() {
		bill.Steps = append(bill.Steps, StepBill{
			Duration:  step.GetDuration().AsDuration(),
			BatchRows: step.GetBatchRows(),
		})
	}
	return bill
}
