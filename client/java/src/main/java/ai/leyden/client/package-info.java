/**
 * Client of Leyden, a gRPC model server for SDXL-Lightning. Begin at {@link
 * ai.leyden.client.LeydenClient}.
 *
 * <p>The messages and stubs of the API itself are in {@code ai.leyden.v1}.
 */
package ai.leyden.client;
