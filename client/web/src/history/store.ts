import { fromJsonString, toJsonString } from "@bufbuild/protobuf";
import {
  type GenerateImageRequest,
  GenerateImageRequestSchema,
} from "stubs/leyden/v1/image_generation_service_pb";

/** An image of a generation that is done. */
export interface KeptImage {
  readonly seed: bigint;
  readonly widthPx: number;
  readonly heightPx: number;
  readonly file: Blob;
  /** A small picture of it, for lists. */
  readonly thumbnail: Blob;
}

/** A generation that is done, as this browser keeps it. */
export interface KeptGeneration {
  readonly request: GenerateImageRequest;
  readonly doneAt: Date;
  readonly images: readonly KeptImage[];
}

/** Most generations that are kept; the oldest make place. */
const MOST_KEPT = 60;

const NAME = "leyden";
const STORE = "generations";

interface Row {
  readonly id: string;
  readonly doneAt: number;
  readonly request: string;
  readonly images: readonly KeptImage[];
}

/** The generations that are done, in this browser alone: its IndexedDB. */
export class HistoryStore {
  #database: Promise<IDBDatabase> | undefined;

  /** Returns all generations, the newest first. */
  async all(): Promise<KeptGeneration[]> {
    const rows = await this.#rows();
    return rows.map(({ request, doneAt, images }) => ({
      request: fromJsonString(GenerateImageRequestSchema, request),
      doneAt: new Date(doneAt),
      images,
    }));
  }

  /** Keeps a generation, in the place of one of the same name. */
  async add(kept: KeptGeneration): Promise<void> {
    const row: Row = {
      id: kept.request.requestId,
      doneAt: kept.doneAt.getTime(),
      request: toJsonString(GenerateImageRequestSchema, kept.request),
      images: kept.images,
    };
    const store = await this.#store("readwrite");
    await result(store.put(row));
    for (const { id } of (await this.#rows()).slice(MOST_KEPT)) await this.remove(id);
  }

  /** Forgets a generation. */
  async remove(requestId: string): Promise<void> {
    await result((await this.#store("readwrite")).delete(requestId));
  }

  /** Forgets all generations. */
  async clear(): Promise<void> {
    await result((await this.#store("readwrite")).clear());
  }

  async #rows(): Promise<Row[]> {
    const rows = (await result((await this.#store("readonly")).getAll())) as Row[];
    return rows.sort((one, other) => other.doneAt - one.doneAt);
  }

  async #store(mode: IDBTransactionMode): Promise<IDBObjectStore> {
    this.#database ??= opened();
    return (await this.#database).transaction(STORE, mode).objectStore(STORE);
  }
}

async function opened(): Promise<IDBDatabase> {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(STORE, { keyPath: "id" });
  };
  return await result(request);
}

async function result<T>(request: IDBRequest<T>): Promise<T> {
  return await new Promise((resolve, reject) => {
    request.onsuccess = () => {
      resolve(request.result);
    };
    request.onerror = () => {
      reject(request.error ?? new Error("IndexedDB failed"));
    };
  });
}
