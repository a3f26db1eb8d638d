package ai.leyden.client;

import java.util.List;

/**
 * What a server does now.
 *
 * @param stages the stages of all loaded models, each once, a model's in the order in which an
 *     image goes through them
 * @param gateways those whose lines are counted, the one that has answered first
 * @param bottleneck name of the stage that holds up the others; empty: none does
 * @param bottleneckReason why, or why none does
 */
public record ServerState(
    List<StageState> stages,
    List<GatewayState> gateways,
    String bottleneck,
    String bottleneckReason) {}
