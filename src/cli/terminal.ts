/** This side's terminal: raw while a program in the guest has it, and itself again afterwards, whatever happens. */
import { type TerminalSize } from "../sdk/index.ts";

/** What programs in the guest may have left on: other screen, mouse, bracketed paste, hidden cursor, colours. */
const resetModes =
  "\u001B[?1049l\u001B[?1000l\u001B[?1002l\u001B[?1003l\u001B[?1006l\u001B[?2004l\u001B[?25h\u001B[0m";

export function terminalSize(): TerminalSize {
  // A terminal that tells no size (a serial line) counts as the classic one.
  return { cols: process.stdout.columns || 80, rows: process.stdout.rows || 24 };
}

export interface RawTerminal extends Disposable {
  /** Also takes back what a program that was cut off may have left on. */
  resetModes(): void;
}

/** Keys go through unchanged, Ctrl-C included. Does nothing when stdin is no terminal. */
export function enterRawMode(): RawTerminal {
  const { stdin, stdout } = process;
  const raw = stdin.isTTY;
  const restore = (): void => void (raw && stdin.setRawMode(false));
  const enter = (): void => void (raw && stdin.setRawMode(true));
  enter();
  process.once("exit", restore);
  // After a stop and `fg`, the shell has set the terminal back.
  process.on("SIGCONT", enter);
  return {
    resetModes: () => void (stdout.isTTY && stdout.write(resetModes)),
    [Symbol.dispose]: () => {
      process.off("SIGCONT", enter);
      process.off("exit", restore);
      restore();
    },
  };
}

/** Calls back with each new size of the window, until disposed. */
export function followTerminalSize(onSize: (size: TerminalSize) => void): Disposable {
  const listener = (): void => onSize(terminalSize());
  process.stdout.on("resize", listener);
  return { [Symbol.dispose]: () => void process.stdout.off("resize", listener) };
}
