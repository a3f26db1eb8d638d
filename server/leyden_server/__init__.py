"""The Leyden server: a Gateway and three Ray Serve stages.

Read it in the order of a request: `gateway` (validate, admit, drive the stages),
`text_encoder`, `denoiser`, `vae`. `stages` holds what crosses between
them, `model_repository` what a model is, `config` every setting, and `launcher`
how it all starts and stops.
"""
