import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { Step } from "../../sdk/index.ts";
import { createProgress, type Progress } from "./progress.ts";
import { describeMeasure, trackStep } from "./step-track.ts";
import { createStyle } from "./style.ts";

const mebibyte = 2 ** 20;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

interface Recorded {
  text: () => string;
  writes: readonly string[];
  progress: Progress;
  /** Tells of a step as the daemon does, with the time since now. */
  step: (id: string, state: Step["state"], more?: Partial<Step>) => void;
}

function record(live: boolean, columns = 80): Recorded {
  const writes: string[] = [];
  const progress = createProgress({
    write: (text) => void writes.push(text),
    live,
    columns: () => columns,
    style: createStyle(false),
  });
  const startedMs = performance.now();
  return {
    writes,
    text: () => writes.join(""),
    progress,
    step: (id, state, more) =>
      progress.onStep({
        id,
        title: `Doing ${id}`,
        state,
        logPath: undefined,
        doneBytes: undefined,
        totalBytes: undefined,
        elapsedMs: performance.now() - startedMs,
        ...more,
      }),
  };
}

describe("without a terminal", () => {
  test("a short step is one line, at its end", () => {
    const { text, progress, step } = record(false);
    step("image", "started");
    vi.advanceTimersByTime(500);
    step("image", "done");
    progress.finish();
    expect(text()).toBe("✓ Doing image  0.5s\n");
  });

  test("a long step is told of once at its beginning, with its log, and once at its end", () => {
    const { text, progress, step } = record(false);
    step("guest", "started", { logPath: "/log" });
    for (let minute = 0; minute < 20; minute += 1) {
      vi.advanceTimersByTime(60_000);
      step("guest", "progress", { logPath: "/log" });
    }
    step("guest", "done");
    progress.finish();
    expect(text()).toBe("… Doing guest  (log: /log)\n✓ Doing guest  20m00s\n");
  });

  test("a step made of other steps is told of by those, and all times are their own", () => {
    const { text, progress, step } = record(false);
    step("create", "started");
    step("prepare", "started");
    vi.advanceTimersByTime(240_000);
    step("prepare", "done");
    vi.advanceTimersByTime(5000);
    step("machine", "started");
    vi.advanceTimersByTime(800);
    step("machine", "done");
    step("create", "done");
    progress.finish();
    expect(text()).toBe("… Doing prepare\n✓ Doing prepare  4m00s\n✓ Doing machine  0.8s\n");
  });

  test("what was announced before its parts began has its end told, too", () => {
    const { text, progress, step } = record(false);
    step("create", "started");
    vi.advanceTimersByTime(2000);
    step("machine", "started");
    step("machine", "done");
    step("create", "done");
    progress.finish();
    expect(text()).toBe("… Doing create\n✓ Doing machine  0.0s\n✓ Doing create  2.0s\n");
  });

  test("steps of different groups are no parts of each other", () => {
    const { text, progress } = record(false);
    const begin = { id: "start", state: "started", elapsedMs: 0 } as const;
    const rest = { logPath: undefined, doneBytes: undefined, totalBytes: undefined };
    for (const group of ["a", "b"])
      progress.onStep({ ...rest, ...begin, title: `${group}: starting` }, group);
    for (const group of ["a", "b"]) {
      progress.onStep(
        { ...rest, ...begin, title: `${group}: starting`, state: "done", elapsedMs: 900 },
        group,
      );
    }
    progress.finish();
    expect(text()).toBe("✓ a: starting  0.9s\n✓ b: starting  0.9s\n");
  });

  test("a download is told of every ten per cent, but not more often than every ten seconds", () => {
    const { text, progress, step } = record(false);
    const totalBytes = 100 * mebibyte;
    step("download", "started", { totalBytes });
    for (let percent = 1; percent <= 100; percent += 1) {
      vi.advanceTimersByTime(250);
      step("download", "progress", { totalBytes, doneBytes: percent * mebibyte });
    }
    step("download", "done");
    progress.finish();
    const shares = text()
      .split("\n")
      .map((line) => /(\d+)%/.exec(line)?.[1]);
    // After one second, eleven, twenty-one; the whole took twenty-five.
    expect(shares).toEqual(["3", "43", "83", undefined, undefined]);
  });

  test("a very slow download is told of every minute", () => {
    const { text, progress, step } = record(false);
    const totalBytes = 10_000 * mebibyte;
    step("download", "started", { totalBytes });
    for (let second = 1; second <= 185; second += 1) {
      vi.advanceTimersByTime(1000);
      step("download", "progress", { totalBytes, doneBytes: second * mebibyte });
    }
    progress.finish();
    expect(text().match(/^… /gm)?.length).toBe(4);
  });

  test("the end of a step whose beginning was not heard is left out", () => {
    const { text, progress, step } = record(false);
    step("copy", "done");
    progress.finish();
    expect(text()).toBe("");
  });

  test("warnings stay above what follows", () => {
    const { text, progress, step } = record(false);
    step("image", "started");
    progress.onWarning("slow\u001B[2J");
    step("image", "done");
    progress.finish();
    expect(text()).toBe("warning: slow\\x1b[2J\n✓ Doing image  0.0s\n");
  });

  test("at a failure the step that was under way is shown as broken off", () => {
    const { text, progress, step } = record(false);
    step("create", "started");
    step("machine", "started");
    progress.finish("failed");
    expect(text()).toBe("✗ Doing machine  0.0s\n");
  });
});

describe("on a terminal", () => {
  test("one line tells of the innermost step and its seconds, and is drawn over itself in one write", () => {
    const { writes, step } = record(true);
    step("create", "started");
    step("prepare", "started");
    vi.advanceTimersByTime(65_000);
    const last = writes.at(-1) ?? "";
    expect(last.slice(0, 5)).toBe("\r\u001B[1A");
    expect(last.slice(6)).toBe(" Doing prepare  1m05s\u001B[K\n\u001B[0J");
  });

  test("the live line is taken away again, and what is done stays", () => {
    const { text, progress, step } = record(true);
    step("image", "started");
    step("image", "done", { elapsedMs: 1500 });
    progress.finish();
    const [live, rest] = text().split("\r\u001B[1A\u001B[0J");
    expect(live?.slice(1)).toBe(" Doing image\u001B[K\n\u001B[0J");
    expect(rest).toBe("✓ Doing image  1.5s\n");
  });

  test("a line is cut to the terminal's width", () => {
    const { text, step } = record(true, 30);
    step("x".repeat(100), "started");
    expect(text().slice(1)).toBe(` Doing ${"x".repeat(20)}…\u001B[K\n\u001B[0J`);
  });

  test("measures are drawn by the clock, not by the chunk", () => {
    const { writes, step } = record(true);
    step("copy", "started", { totalBytes: mebibyte });
    for (let at = 0; at < 1000; at += 1) step("copy", "progress", { totalBytes: mebibyte, doneBytes: at });
    // The beginning and the first measure.
    expect(writes.length).toBe(2);
  });
});

test("size, share, speed and time left follow from the measures", () => {
  const measured: Step = {
    id: "image",
    title: "Downloading",
    state: "progress",
    logPath: undefined,
    doneBytes: 0,
    totalBytes: 400 * mebibyte,
    elapsedMs: 0,
  };
  let track = trackStep(undefined, measured, "", 0);
  track = trackStep(track, { ...measured, doneBytes: 100 * mebibyte, elapsedMs: 2000 }, "", 2000);
  expect(describeMeasure(track, { bar: false })).toBe("25%  100 MiB of 400 MiB  50 MiB/s  6s left");
});
