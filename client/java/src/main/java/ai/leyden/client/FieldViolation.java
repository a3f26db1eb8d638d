package ai.leyden.client;

import java.io.Serializable;

/**
 * A field of the request that is wrong.
 *
 * @param field name of the field, as in the API
 * @param description what is wrong with it, and what is allowed
 * @serial exclude
 */
public record FieldViolation(String field, String description) implements Serializable {}
