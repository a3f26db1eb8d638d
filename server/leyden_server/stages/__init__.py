"""What crosses between the Gateway and the stages, and the stages as Ray Serve deployments."""
