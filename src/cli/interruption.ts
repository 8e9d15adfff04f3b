/** Ctrl-C and its relatives: the first asks the work to end, the second ends the program. */
import type { HeyvmError } from "../errors/index.ts";

const signalNumbers = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 } as const;

export type InterruptingSignal = keyof typeof signalNumbers;

/** The signal that ended the program's work: there is one program, and one end of it. */
let received: InterruptingSignal | undefined;

export interface Interruption {
  /** Ends when the user interrupts. */
  readonly signal: AbortSignal;
  /** The signal that interrupted, for the exit code 128 + n. */
  received(): InterruptingSignal | undefined;
  /** From here until disposed, signals go to `handler` and interrupt nothing. */
  takeOver(handler: (signal: InterruptingSignal) => void): Disposable;
  /** Interrupts as a signal does. */
  interrupt(signal: InterruptingSignal): void;
}

/** Listens to the signals. `onFirst` may tell the user what happens now. */
export function listenForInterruption(onFirst: () => void): Interruption {
  const controller = new AbortController();
  let taken: ((signal: InterruptingSignal) => void) | undefined;
  const interrupt = (signal: InterruptingSignal): void => {
    if (received !== undefined) process.exit(exitCodeOfSignal(signal));
    received = signal;
    onFirst();
    controller.abort(signal);
  };
  for (const name of interruptingSignals) {
    process.on(name, () => (taken === undefined ? interrupt(name) : taken(name)));
  }
  return {
    signal: controller.signal,
    received: () => received,
    interrupt,
    takeOver(handler) {
      taken = handler;
      return {
        [Symbol.dispose]: () => {
          taken = undefined;
        },
      };
    },
  };
}

/** The signal that the user has ended the work with, if that is what `error` comes from. */
export function interruptionOf(error: HeyvmError): InterruptingSignal | undefined {
  if (error.code !== "aborted") return undefined;
  // One that was meant for the guest's command interrupts nothing but may be given up with.
  return interruptingSignals.find((name) => name === error.cause) ?? received;
}

const interruptingSignals = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"] as const;

/** 130 for SIGINT, 143 for SIGTERM, as shells have it. */
export function exitCodeOfSignal(signal: InterruptingSignal): number {
  return 128 + signalNumbers[signal];
}
