import { Code } from "@connectrpc/connect";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Model } from "stubs/leyden/v1/model_service_pb";
import { ModelState } from "stubs/leyden/v1/model_service_pb";

import { Server } from "../api/client";
import { Failure } from "../api/failure";
import { fitted, formOf, type FormValues, requestOf, takenUp } from "../form";
import { begun, type Generation, isRunning, type Variant } from "../generation";
import type { KeptGeneration } from "../history/store";
import { useHistory } from "../history/use_history";
import { readImageFile } from "../image_file/read";
import { ApiKey, savedForm, saveForm } from "../session";
import { useTokenizer } from "../tokens/use_tokenizer";
import { useGeneration } from "../use_generation";
import { useModels } from "../use_models";
import { Announcer } from "./announcer";
import { Controls } from "./controls";
import { DropTarget } from "./drop_target";
import { Header } from "./header";
import { HistoryList } from "./history_list";
import { KeyDialog } from "./key_dialog";
import { type Notice, NoticeBar } from "./notice";
import { beyondFields, fieldErrors } from "./said";
import { Stage } from "./stage";
import { Viewer } from "./viewer";

const key = new ApiKey();

/** The page. */
export function App() {
  const server = useMemo(() => new Server(() => key.value), []);
  const [values, setValues] = useState<FormValues>(savedForm);
  const [errors, setErrors] = useState<ReadonlyMap<string, string>>(new Map());
  const [notice, setNotice] = useState<Notice>();
  const [keyProblem, setKeyProblem] = useState<string>();
  const [opened, setOpened] = useState<Variant>();
  const models = useModels(server);
  const history = useHistory();
  const { generation, start, cancel, show } = useGeneration(server, (done) => {
    void history.add(done);
  });
  const model = models.all?.find(({ name }) => name === values.model);
  const tokenizer = useTokenizer(server, model?.name ?? "");

  useEffect(() => {
    saveForm(values);
  }, [values]);

  // The form follows the models: at first, and when the one that it names is gone.
  useEffect(() => {
    if (models.all === undefined || model !== undefined) return;
    const chosen = preferred(models.all);
    if (chosen !== undefined) setValues((before) => fitted(before, chosen));
  }, [models.all, model]);

  const submit = useCallback(
    (submitted: FormValues) => {
      setErrors(new Map());
      setNotice(undefined);
      const of = models.all?.find(({ name }) => name === submitted.model);
      try {
        start(requestOf(submitted, of));
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        setErrors(new Map([["seed", error.message]]));
      }
    },
    [models.all, start],
  );

  const failure = generation?.phase === "failed" ? generation.failure : undefined;
  useEffect(() => {
    if (failure === undefined || generation === undefined) return;
    if (failure.code === Code.Unauthenticated) {
      setKeyProblem(failure.message);
      return;
    }
    setErrors(fieldErrors(failure));
    const text = beyondFields(failure);
    if (text === "") return;
    const again = () => {
      const { request } = generation;
      submit(formOf(request));
    };
    const mayHelp =
      failure.retryAfterS !== undefined ||
      failure.isBroken ||
      failure.reason === "GENERATION_NOT_FOUND";
    setNotice({
      kind: "error",
      text,
      retryAfterS: failure.retryAfterS,
      ...(mayHelp ? { again } : {}),
    });
    // Once for each failure: what is said of it does not change with the form.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [failure]);

  const listFailure = models.failure;
  useEffect(() => {
    if (listFailure?.code === Code.Unauthenticated) setKeyProblem(listFailure.message);
  }, [listFailure]);

  useFocusOnError(errors);

  const takeFile = useCallback(
    (file: File) => {
      readImageFile(file).then(
        ({ format, parameters }) => {
          setErrors(new Map());
          setValues((before) => {
            const taken = takenUp(before, parameters, format);
            const isKnown = models.all?.some(({ name }) => name === taken.model) ?? false;
            if (!isKnown && taken.model !== before.model) {
              setNotice({
                kind: "error",
                text: `It was made by ${taken.model}, which this server does not have.`,
              });
              return { ...taken, model: before.model };
            }
            setNotice({ kind: "note", text: `The parameters of ${file.name} are in the form.` });
            return taken;
          });
        },
        (error: unknown) => {
          setNotice({
            kind: "error",
            text: error instanceof Error ? error.message : String(error),
          });
        },
      );
    },
    [models.all],
  );

  const change = (changed: Partial<FormValues>) => {
    setValues((before) => ({ ...before, ...changed }));
    const names = Object.keys(changed).map((name) => API_NAMES[name as keyof FormValues]);
    if (names.some((name) => errors.has(name))) {
      setErrors(new Map([...errors].filter(([name]) => !names.includes(name))));
    }
  };

  return (
    <>
      <Header
        {...stateOf(models.all, models.failure)}
        onFile={takeFile}
        onKey={() => {
          setKeyProblem("");
        }}
      />
      <main>
        <div class="left">
          <Controls
            values={values}
            models={models.all ?? []}
            model={model}
            tokenizer={tokenizer}
            lastSeed={generation?.request.seed}
            errors={errors}
            isRunning={isRunning(generation)}
            onChange={change}
            onSubmit={() => {
              submit(values);
            }}
            onCancel={cancel}
          />
        </div>
        <div class="right">
          {notice && (
            <NoticeBar
              notice={notice}
              onClose={() => {
                setNotice(undefined);
                document.getElementById("prompt")?.focus();
              }}
            />
          )}
          <Stage
            generation={generation}
            onOpen={setOpened}
            onTakeSeed={(seed) => {
              change({ seed: String(seed) });
              setNotice({ kind: "note", text: `Seed ${seed} is in the form.` });
            }}
          />
          <HistoryList
            history={history}
            onShow={(kept) => {
              show(shown(kept));
            }}
            onAgain={(kept) => {
              const again = formOf(kept.request);
              setValues(again);
              submit(again);
            }}
          />
        </div>
      </main>
      <Announcer generation={generation} />
      <DropTarget onFile={takeFile} />
      {keyProblem !== undefined && (
        <KeyDialog
          hasKey={key.value !== ""}
          problem={keyProblem}
          onSet={(set, keeps) => {
            key.set(set, keeps);
            setKeyProblem(undefined);
            models.refresh();
          }}
          onClose={() => {
            setKeyProblem(undefined);
          }}
        />
      )}
      {opened && generation && (
        <Viewer
          variant={opened}
          request={generation.request}
          onClose={() => {
            setOpened(undefined);
          }}
        />
      )}
    </>
  );
}

/** What the API calls the fields of the form. */
const API_NAMES: Readonly<Record<keyof FormValues, string>> = {
  model: "model",
  prompt: "prompt",
  negativePrompt: "negative_prompt",
  seed: "seed",
  widthPx: "width_px",
  heightPx: "height_px",
  steps: "num_inference_steps",
  guidance: "guidance_scale",
  solver: "solver",
  imageCount: "image_count",
  format: "output_format",
  quality: "output_quality",
};

/** Returns the model to begin with: the server's default where it is ready, else any that is. */
function preferred(models: readonly Model[]): Model | undefined {
  const ready = models.filter(({ state }) => state === ModelState.READY);
  return ready.find(({ isDefault }) => isDefault) ?? ready[0];
}

function stateOf(
  models: readonly Model[] | undefined,
  failure: Failure | undefined,
): { state: string; isReady: boolean } {
  if (failure?.code === Code.Unauthenticated) return { state: "Needs a key", isReady: false };
  if (failure?.isBroken) return { state: "Not reachable", isReady: false };
  if (failure !== undefined) return { state: failure.message, isReady: false };
  if (models === undefined) return { state: "Connecting", isReady: false };
  const isReady = preferred(models) !== undefined;
  return { state: isReady ? "Ready" : "Loading models", isReady };
}

/** Returns a generation of the history as it was when it was done. */
function shown({ request, images }: KeptGeneration): Generation {
  return {
    ...begun(request),
    phase: "done",
    variants: images.map(({ seed, widthPx, heightPx, file }) => ({
      step: request.numInferenceSteps,
      totalSteps: request.numInferenceSteps,
      seed,
      widthPx,
      heightPx,
      file,
    })),
  };
}

/** Puts the focus on the first field that is wrong, once it is known. */
function useFocusOnError(errors: ReadonlyMap<string, string>): void {
  const seen = useRef(errors);
  useEffect(() => {
    if (errors === seen.current) return;
    const hasNew = [...errors.keys()].some((name) => !seen.current.has(name));
    seen.current = errors;
    if (hasNew) document.querySelector<HTMLElement>("[aria-invalid]")?.focus();
  }, [errors]);
}
