/**
 * Sees that a guest will never answer while somebody waits for it: its kernel panicked, its boot loader stopped, it waits in a
 * rescue shell, or it resets over and over. All but the last is read from its console, which every cloud image writes to: a
 * device for it (pvpanic) would need a driver that is not loaded when a kernel runs out of memory. One cause is the host's,
 * and passes: a kernel that saw no timer tick on a host that was too busy is reset, to boot again.
 */
import { timeoutSignal } from "../core/deadline.ts";
import { HeyvmError } from "../errors/index.ts";

/** What a guest said, or did, before it stopped. */
export class GuestBootError extends HeyvmError {
  /** To follow "the guest". */
  readonly why: string;
  constructor(why: string) {
    super("guest_failed", `the guest ${why}`);
    this.why = why;
  }
}

export interface BootSigns {
  /** The newest `maxBytes` of what it printed, also in earlier boots. */
  readConsole: (maxBytes: number, signal: AbortSignal) => Promise<Buffer>;
  /** Tells of each reset of its machine. Returns the function that ends it. */
  onReset: (listener: () => void) => () => void;
  /** Presses its reset button; absent where it has none. */
  reset?: ((signal: AbortSignal) => Promise<void>) | undefined;
}

export interface BootWatch extends Disposable {
  /** Aborts with a `GuestBootError`. */
  readonly signal: AbortSignal;
}

const lookMs = 2000;
const readTimeoutMs = 10_000;
const consoleBytes = 65_536;
/** The end of what earlier boots printed, by which it is found again. */
const markBytes = 512;
/** The guest may print the same over and over, so that looking for it takes long. */
const mostMarks = 1000;
/** Some images reset once in their first boot. */
const mostResets = 3;
/** A host that is too busy three times in a row is too busy for this guest. */
const mostTriesAgain = 2;
/**
 * Linux waits a few ticks for an interrupt of the timer (check_timer in arch/x86/kernel/apic/io_apic.c); emulated, those
 * come late on a busy host. At the end of its message nothing of that panic is still to be printed.
 */
const timerPanic = "IO-APIC + timer doesn't work";
const timerPanicEnd = `---[ end Kernel panic - not syncing: ${timerPanic}`;
/** An old kernel prints no end. */
const mostLooksAtPanic = 3;

/** Begins to watch; call it when the machine has just started. `isFirstBoot`: nothing was printed before. */
export function watchBoot({ readConsole, onReset, reset }: BootSigns, isFirstBoot: boolean): BootWatch {
  const failed = new AbortController();
  const done = new AbortController();
  const fail = (why: string): void => {
    if (!done.signal.aborted) failed.abort(new GuestBootError(why));
  };
  let resets = 0;
  let triesAgain = 0;
  let looksAtPanic = 0;
  const unwatch = onReset(() => {
    resets += 1;
    if (resets - triesAgain >= mostResets) fail(`resets over and over: ${resets} times so far`);
  });
  let before: Buffer | undefined = isFirstBoot ? Buffer.alloc(0) : undefined;
  let looking = false;
  const look = async (): Promise<void> => {
    if (looking) return;
    looking = true;
    try {
      const signal = AbortSignal.any([done.signal, timeoutSignal(readTimeoutMs)]);
      const now = await readConsole(consoleBytes, signal);
      before ??= now;
      const output = newOutput(now, before);
      const why = bootFailureIn(output);
      if (why === undefined) return;
      if (reset === undefined || triesAgain === mostTriesAgain || !why.includes(timerPanic)) {
        fail(why);
        return;
      }
      looksAtPanic += 1;
      if (looksAtPanic < mostLooksAtPanic && !output.includes(timerPanicEnd)) return;
      looksAtPanic = 0;
      triesAgain += 1;
      before = now;
      await reset(signal).catch(() => fail(why));
    } catch {
      // A console that cannot be read says nothing, and the guest may well come up.
    } finally {
      looking = false;
    }
  };
  void look();
  const timer = setInterval(() => void look(), lookMs);
  return {
    signal: failed.signal,
    [Symbol.dispose]() {
      clearInterval(timer);
      unwatch();
      done.abort();
    },
  };
}

/** Why a guest whose console ends so will never answer, to follow "the guest"; `undefined` while it may. */
export function bootFailureIn(console: string): string | undefined {
  // The end of its message repeats the words, and may be what is left of a panic that was looked at.
  const panic = /(?<!\[ end )Kernel panic - not syncing: ([^\r\n]*)/.exec(console);
  if (panic !== null) return `stopped: its kernel panicked (${printable(panic[1] ?? "")})`;
  if (console.includes("Failed to boot both default and fallback entries")) {
    const reason = /error: ([^\r\n]*)/.exec(console)?.[1] ?? "no reason given";
    return `stopped in its boot loader (${printable(reason).replace(/\.$/, "")})`;
  }
  const end = console.slice(-200).trimEnd();
  if (/\bgrub(?: rescue)?>$/.test(end)) return "stopped in its boot loader";
  if (end.endsWith("(initramfs)") || /initramfs emergency recovery shell/.test(end)) {
    return "found no root file system, and waits in its initramfs";
  }
  if (/press (?:Enter|Control-D)[^\r\n]*(?:maintenance|continue)[^\r\n]*$/i.test(end)) {
    return "stopped in emergency mode";
  }
  return undefined;
}

/** What was printed since `before` was read. */
function newOutput(now: Buffer, before: Buffer): string {
  if (now.subarray(0, before.length).equals(before)) return now.toString("latin1", before.length);
  // Its beginning has moved out of sight. A boot may print the same as the one before it, so all that is left has to fit.
  const mark = before.subarray(-markBytes);
  let at = mark.length === 0 ? -1 : now.lastIndexOf(mark);
  for (let tries = 0; at >= 0 && tries < mostMarks; tries += 1) {
    const end = at + mark.length;
    if (end <= before.length && before.subarray(-end).equals(now.subarray(0, end))) {
      return now.toString("latin1", end);
    }
    at = at === 0 ? -1 : now.lastIndexOf(mark, at - 1);
  }
  return now.toString("latin1");
}

/** The guest decides what is in it. */
function printable(text: string): string {
  return text
    .slice(0, 200)
    .replaceAll(/[^\x20-\x7e]/g, "?")
    .trim();
}
