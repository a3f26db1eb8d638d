"""The second stage: a step-batching engine around the UNet.

`engine` is the loop; `step_scheduler` decides what shares a step; `request_state` is the
truth about each image; `input_batch`, `unet_runner` and `solvers` do the step.
"""
