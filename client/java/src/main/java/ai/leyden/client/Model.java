package ai.leyden.client;

import java.util.List;

/**
 * A model and what it accepts. All ranges are inclusive.
 *
 * @param name name, as {@link GenerateRequest.Builder#model} takes it
 * @param description one line on what it is
 * @param state whether it can be used now
 * @param unavailableReason where the state is {@code UNAVAILABLE}, what is missing and how to get
 *     it, or why its last load failed; where it is {@code LOADING} although it was ready before,
 *     which stage has no running replica
 * @param isDefault whether a request that names no model gets this one
 * @param revision what identifies its UNet, as {@link Event.Summary#modelRevision()}; empty unless
 *     it is loaded
 * @param license licence of the weights: an SPDX id where there is one
 * @param defaultWidthPx native width in pixels
 * @param defaultHeightPx native height in pixels
 * @param minSizePx smallest width and height in pixels
 * @param maxSizePx largest width and height in pixels
 * @param sizeMultiplePx width and height are multiples of this, in pixels
 * @param defaultNumInferenceSteps denoise steps of a request that does not say
 * @param minNumInferenceSteps fewest denoise steps
 * @param maxNumInferenceSteps most denoise steps
 * @param defaultGuidanceScale guidance scale of a request that does not say
 * @param minGuidanceScale smallest guidance scale
 * @param maxGuidanceScale largest guidance scale
 * @param solvers solvers that it can run, the default first
 * @param outputFormats formats that it can send, the default first
 * @param maxImageCount most images of one request
 * @param maxPromptTokens length in tokens at which a prompt is cut; 0 where files of it are missing
 * @param previews whether it can send previews
 * @param filesPresent whether all of its files are at hand: if it is not loaded, nothing is left to
 *     fetch
 * @param knownWords the words that it knows, where it was trained on few; empty: they are not
 *     limited so
 */
public record Model(
    String name,
    String description,
    ModelState state,
    String unavailableReason,
    boolean isDefault,
    String revision,
    String license,
    int defaultWidthPx,
    int defaultHeightPx,
    int minSizePx,
    int maxSizePx,
    int sizeMultiplePx,
    int defaultNumInferenceSteps,
    int minNumInferenceSteps,
    int maxNumInferenceSteps,
    float defaultGuidanceScale,
    float minGuidanceScale,
    float maxGuidanceScale,
    List<Solver> solvers,
    List<OutputFormat> outputFormats,
    int maxImageCount,
    int maxPromptTokens,
    boolean previews,
    boolean filesPresent,
    List<String> knownWords) {}
