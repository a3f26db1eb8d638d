package ai.leyden.client;

import java.time.Duration;

/**
 * A process of the server that speaks gRPC.
 *
 * @param replica its name, as {@link Bill#gatewayReplica()}
 * @param uptime for how long it has been there
 * @param draining whether it refuses new requests because it ends
 * @param openStreamCount calls that watch a generation
 * @param waitingImageCount images that it has accepted and no denoise step has begun for
 */
public record GatewayState(
    String replica,
    Duration uptime,
    boolean draining,
    int openStreamCount,
    int waitingImageCount) {}
