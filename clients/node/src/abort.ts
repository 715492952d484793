/** The functions that wait for each signal. */
const waiting = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls `heed` when a signal is aborted, and returns what ends that. However many wait for one signal, it has one listener:
 * Node warns of more than ten, and many locks may share a signal.
 */
export function onAbort(signal: AbortSignal | undefined, heed: () => void): () => void {
  if (signal === undefined) return () => {};
  let functions = waiting.get(signal);
  if (functions === undefined) {
    const made = new Set<() => void>();
    functions = made;
    waiting.set(signal, made);
    signal.addEventListener("abort", () => [...made].map((each) => each()), { once: true });
  }
  const set = functions;
  set.add(heed);
  return () => set.delete(heed);
}
