"""Generated stubs of `protos/inference`; `make protos` writes them."""
