import { useEffect, useState } from "preact/hooks";

export interface Notice {
  readonly kind: "error" | "note";
  readonly text: string;
  /** Seconds until another try may succeed. */
  readonly retryAfterS?: number | undefined;
  /** Tries again. */
  readonly again?: (() => void) | undefined;
}

/** What no field can say. */
export function NoticeBar(props: { readonly notice: Notice; readonly onClose: () => void }) {
  const { notice, onClose } = props;
  const left = useCountdown(notice);
  return (
    <div class={`notice ${notice.kind}`} role={notice.kind === "error" ? "alert" : "status"}>
      <p>{notice.text}</p>
      {notice.again && (
        <button type="button" disabled={left > 0} onClick={notice.again}>
          {left > 0 ? `Try again in ${left} s` : "Try again"}
        </button>
      )}
      <button type="button" class="quiet" onClick={onClose}>
        Close
      </button>
    </div>
  );
}

function useCountdown(notice: Notice): number {
  const [left, setLeft] = useState(0);
  useEffect(() => {
    const until = performance.now() + (notice.retryAfterS ?? 0) * 1e3;
    const look = () => {
      setLeft(Math.max(0, Math.ceil((until - performance.now()) / 1e3)));
    };
    look();
    const timer = setInterval(look, 500);
    return () => {
      clearInterval(timer);
    };
  }, [notice]);
  return left;
}
