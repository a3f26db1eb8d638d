"""torch's tool box: devices, threads, graphs, compilers, kernels. No stage, no policy."""
