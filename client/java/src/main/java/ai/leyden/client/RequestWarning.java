package ai.leyden.client;

/**
 * Something about a request that its sender should know, though it was served.
 *
 * @param reason what kind of warning, in UPPER_SNAKE_CASE
 * @param field the request's field that the warning is about, by its name in the API
 * @param message the warning in words
 */
public record RequestWarning(String reason, String field, String message) {}
