import { useState } from "preact/hooks";

import type { KeptGeneration } from "../history/store";
import type { History } from "../history/use_history";
import { Dialog } from "./dialog";
import { AgainIcon, RemoveIcon } from "./icons";
import { useObjectUrl } from "./use_object_url";

interface HistoryListProps {
  readonly history: History;
  readonly onShow: (kept: KeptGeneration) => void;
  readonly onAgain: (kept: KeptGeneration) => void;
}

/** What this browser has made before. */
export function HistoryList({ history, onShow, onAgain }: HistoryListProps) {
  const [asks, setAsks] = useState(false);
  return (
    <section class="history" aria-labelledby="history-title">
      <div class="history-head">
        <h2 id="history-title" tabIndex={-1}>
          History
        </h2>
        <span class="hint">in this browser only</span>
        {history.kept.length > 0 && (
          <button
            type="button"
            class="quiet"
            onClick={() => {
              setAsks(true);
            }}
          >
            Clear
          </button>
        )}
      </div>
      {history.problem !== "" && <p class="warning">{history.problem}</p>}
      {history.kept.length === 0 ? (
        <p class="hint">Nothing yet.</p>
      ) : (
        <ul>
          {history.kept.map((kept) => (
            <Entry
              key={kept.request.requestId}
              kept={kept}
              onShow={onShow}
              onAgain={onAgain}
              onRemove={() => {
                document.getElementById("history-title")?.focus();
                void history.remove(kept.request.requestId);
              }}
            />
          ))}
        </ul>
      )}
      {asks && (
        <Dialog
          label="Clear the history"
          onClose={() => {
            setAsks(false);
          }}
        >
          <h2>Clear the history?</h2>
          <p>
            {history.kept.length} generations and their images are deleted from this browser. That
            cannot be undone.
          </p>
          <div class="actions">
            <button
              type="button"
              class="danger"
              onClick={() => {
                setAsks(false);
                void history.clear();
              }}
            >
              Clear
            </button>
            <button
              type="button"
              onClick={() => {
                setAsks(false);
              }}
            >
              Keep it
            </button>
          </div>
        </Dialog>
      )}
    </section>
  );
}

interface EntryProps {
  readonly kept: KeptGeneration;
  readonly onShow: (kept: KeptGeneration) => void;
  readonly onAgain: (kept: KeptGeneration) => void;
  readonly onRemove: () => void;
}

function Entry({ kept, onShow, onAgain, onRemove }: EntryProps) {
  const { request, images, doneAt } = kept;
  const url = useObjectUrl(images[0]?.thumbnail);
  const more = images.length - 1;
  return (
    <li class="entry">
      <button
        type="button"
        class="entry-open"
        onClick={() => {
          onShow(kept);
        }}
      >
        <span class="thumbnail">
          {url && <img src={url} alt="" loading="lazy" />}
          {more > 0 && <span class="more">+{more}</span>}
        </span>
        <span class="entry-text">
          <span class="entry-prompt">{request.prompt}</span>
          <span class="hint">
            seed {String(request.seed ?? "")} · {request.model} ·{" "}
            <time dateTime={doneAt.toISOString()}>{when(doneAt)}</time>
          </span>
        </span>
      </button>
      <button
        type="button"
        class="icon"
        title="Run again, with the same seed"
        aria-label={`Run again: ${request.prompt}`}
        onClick={() => {
          onAgain(kept);
        }}
      >
        <AgainIcon />
      </button>
      <button
        type="button"
        class="icon"
        title="Delete"
        aria-label={`Delete: ${request.prompt}`}
        onClick={onRemove}
      >
        <RemoveIcon />
      </button>
    </li>
  );
}

function when(date: Date): string {
  const isToday = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(
    undefined,
    isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" },
  );
}
