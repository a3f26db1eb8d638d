package ai.leyden.client;

import java.util.List;
import java.util.OptionalDouble;

/**
 * A stage over all of its replicas.
 *
 * @param name that of its Serve application; in a server of one process, what that would be
 * @param kind which stage of a model it is
 * @param models names of the models that share it
 * @param runningReplicas replicas that run
 * @param wantedReplicas replicas that there are to be now
 * @param runningCount prompts (of text encoders) or images that its replicas work on
 * @param waitingCount prompts or images that wait for it; for a denoiser in the Gateways' lines too
 * @param busyShare the part of the last 10 s in which its model ran, from 0 to 1: the mean over its
 *     replicas; empty: none of them has answered
 * @param problem why it is gone; empty where it is there, is started, or rests
 */
public record StageState(
    String name,
    StageKind kind,
    List<String> models,
    int runningReplicas,
    int wantedReplicas,
    int runningCount,
    int waitingCount,
    OptionalDouble busyShare,
    String problem) {}
