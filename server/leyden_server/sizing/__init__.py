"""How many replicas a load needs: measured costs, and a simulation of the stages in virtual time.

The simulation drives the real step scheduler, the real batching of the other stages and Ray
Serve's real autoscaling policy; only the GPU, the network and the clock are simulated. No torch.
"""

__all__: list[str] = []
