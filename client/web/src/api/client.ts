import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { ImageGenerationService } from "stubs/leyden/v1/image_generation_service_pb";
import { type Model, ModelService } from "stubs/leyden/v1/model_service_pb";

import { Failure } from "./failure";

/** The server that the page came from, by the Connect protocol. */
export class Server {
  readonly images: Client<typeof ImageGenerationService>;
  readonly #models: Client<typeof ModelService>;

  /** `apiKey` is asked before each call; empty: none is sent. */
  constructor(private readonly apiKey: () => string) {
    const withKey: Interceptor = (next) => (request) => {
      const key = apiKey();
      if (key !== "") request.header.set("authorization", `Bearer ${key}`);
      return next(request);
    };
    const transport = createConnectTransport({
      baseUrl: location.origin,
      useBinaryFormat: true,
      interceptors: [withKey],
    });
    this.images = createClient(ImageGenerationService, transport);
    this.#models = createClient(ModelService, transport);
  }

  /** Returns the models of the repository, by name. Throws `Failure`. */
  async listModels(signal: AbortSignal): Promise<Model[]> {
    try {
      return (await this.#models.listModels({}, { signal })).models;
    } catch (error) {
      throw Failure.from(error);
    }
  }

  /** Ends a generation at once. Throws `Failure`. */
  async cancel(requestId: string): Promise<void> {
    try {
      await this.images.cancelGeneration({ requestId });
    } catch (error) {
      throw Failure.from(error);
    }
  }

  /** Returns what the server says of a model's tokenizers, or nothing where it cannot tell. */
  async tokenizer(model: string, signal: AbortSignal): Promise<unknown> {
    const key = this.apiKey();
    const answer = await fetch(`tokenizer?model=${encodeURIComponent(model)}`, {
      signal,
      headers: key === "" ? {} : { authorization: `Bearer ${key}` },
    });
    return answer.ok ? await answer.json() : undefined;
  }
}
