import { describe, expect, onTestFinished, test, vi } from "vitest";

import { bootFailureIn, type BootSigns, GuestBootError, watchBoot } from "./boot-watch.ts";

const panic =
  "[    4.812016] Out of memory and no killable processes...\r\n[    4.813300] Kernel panic - not syncing: System is deadlocked on memory\r\n[    4.814000] CPU: 0 PID: 1 Comm: swapper/0\r\n";

test.each([
  [panic, "stopped: its kernel panicked (System is deadlocked on memory)"],
  ["error: no such device: 5b1d.\r\ngrub rescue> ", "stopped in its boot loader"],
  [
    "\u001b[1;1H  Booting `Debian GNU/Linux'\r\n\r\nerror: out of memory.\r\nerror: you need to load the kernel first.\r\n\r\nPress any key to continue...\r\n\r\n  Failed to boot both default and fallback entries.\r\n\r\nPress any key to continue...\r\n",
    "stopped in its boot loader (out of memory)",
  ],
  ["GNU GRUB  version 2.06\r\n\r\ngrub> ", "stopped in its boot loader"],
  [
    "ALERT!  LABEL=x does not exist.  Dropping to a shell!\r\n\r\n(initramfs) ",
    "found no root file system, and waits in its initramfs",
  ],
  [
    "Mounting root failed.\ninitramfs emergency recovery shell launched. Type 'exit' to continue boot\nsh: can't access tty; job control turned off\n~ # ",
    "found no root file system, and waits in its initramfs",
  ],
  [
    'You are in emergency mode. After logging in, type "journalctl -xb" to view\r\nPress Enter for maintenance\r\n(or press Control-D to continue): ',
    "stopped in emergency mode",
  ],
  ["Kernel panic - not syncing: \u001b]0;x\u0007\u009b2J!", "stopped: its kernel panicked (?]0;x??2J!)"],
])("a console that ends so (%j) tells that nobody will answer", (console, why) => {
  expect(bootFailureIn(console)).toBe(why);
});

test.each([
  "",
  "Booting `Debian GNU/Linux'\r\n",
  "Debian GNU/Linux 12 box ttyS0\r\n\r\nbox login: ",
  "grub> is what it asked for before\r\nLinux version 6.1\r\n",
  "[  OK  ] Reached target emergency.target\r\n",
])("one that ends so (%j) does not", (console) => {
  expect(bootFailureIn(console)).toBeUndefined();
});

test.each([
  "Kernel panic - ",
  "error: ",
  "Failed to boot both default and fallback entries",
  "grub>",
  "(initramfs)",
  "press Enter maintenance",
  "\u001b]",
])("a megabyte of %j costs no time", (text) => {
  const beganMs = performance.now();
  bootFailureIn(text.repeat(2 ** 20 / text.length));
  expect(performance.now() - beganMs).toBeLessThan(1000);
});

function guest() {
  let output = Buffer.alloc(0);
  let reset: (() => void) | undefined;
  const signs: BootSigns = {
    readConsole: async (maxBytes) => await Promise.resolve(output.subarray(-maxBytes)),
    onReset(listener) {
      reset = listener;
      return () => undefined;
    },
  };
  return {
    signs,
    print: (text: string) => void (output = Buffer.concat([output, Buffer.from(text)])),
    reset: () => reset?.(),
  };
}

function watch(signs: BootSigns, isFirstBoot = true): AbortSignal {
  const watching = watchBoot(signs, isFirstBoot);
  onTestFinished(() => watching[Symbol.dispose]());
  return watching.signal;
}

test("a panic is seen, and what an earlier boot printed is not taken for it", async () => {
  const { signs, print } = guest();
  print(panic);
  const first = watch(signs);
  await expect.poll(() => first.reason).toBeInstanceOf(GuestBootError);

  const again = watch(signs, false);
  await new Promise((resolve) => setTimeout(resolve, 0));
  print("Linux version 6.1\r\n");
  await expect.poll(() => again.aborted, { timeout: 3000 }).toBe(false);
  print("x".repeat(100_000) + panic.replaceAll("4.81", "9.25"));
  await expect
    .poll(() => again.reason, { timeout: 10_000 })
    .toMatchObject({ why: expect.stringContaining("deadlocked") });
});

/** A guest with a reset button, under a clock that the test moves. */
function resettable(output: string) {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const { signs, print, reset } = guest();
  print(output);
  const pressed = { times: 0 };
  const press = async (): Promise<void> => {
    pressed.times += 1;
    reset();
    await Promise.resolve();
  };
  const signal = watch({ ...signs, reset: press }, output === "");
  const printing = async (text: string, ms = 5000): Promise<void> => {
    print(text);
    await vi.advanceTimersByTimeAsync(ms);
  };
  return { signal, printing, reset, pressed };
}

describe("a kernel that saw no timer tick", () => {
  const words = "Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug";
  // As long as the mark by which earlier output is found again, and the same in each boot.
  const trace = "[    0.036000]  ? _raw_spin_unlock_irqrestore+0x19/0x40\r\n".repeat(20);

  test.each([
    ["of the first boot", ""],
    ["of a later one, on a console whose beginning is out of sight", "x".repeat(96 * 1024)],
  ])("is reset when it has said all, and given up at the third time: %s", async (_which, earlier) => {
    const { signal, printing, reset, pressed } = resettable(earlier);
    await printing("");
    for (const times of [1, 2]) {
      await printing(`[    0.036000] ${words}\r\n`, 2000);
      expect(pressed.times).toBe(times - 1);
      await printing(`${trace}[    0.036000] ---[ end ${words} ]---\r\n`);
      expect(pressed.times).toBe(times);
    }
    expect(signal.aborted).toBe(false);
    // Those were not the guest's own.
    reset();
    reset();
    expect(signal.aborted).toBe(false);
    await printing(`[    0.036000] ${words}\r\n${trace}[    0.036000] ---[ end ${words} ]---\r\n`);
    expect(signal.reason).toMatchObject({ why: expect.stringContaining("timer doesn't work") });
    expect(pressed.times).toBe(2);
  });

  test("is reset after a while when its message has no end, and what comes of that late is no other panic", async () => {
    const { signal, printing, pressed } = resettable("");
    await printing(`[    0.036000] ${words}\r\n`, 10_000);
    expect(pressed.times).toBe(1);
    await printing(`[    0.036000] ---[ end ${words} ]---\r\nLinux version 6.1\r\n`, 20_000);
    expect({ times: pressed.times, aborted: signal.aborted }).toEqual({ times: 1, aborted: false });
  });
});

test("one whose machine has no reset button is given up at once, and so is one that cannot be reset", async () => {
  const words = "Kernel panic - not syncing: IO-APIC + timer doesn't work!";
  for (const reset of [undefined, async () => await Promise.reject(new Error("away"))]) {
    const { signs, print } = guest();
    print(`${words}\r\n---[ end ${words} ]---\r\n`);
    const signal = watch({ ...signs, reset });
    await expect.poll(() => signal.reason).toBeInstanceOf(GuestBootError);
  }
});

test("one that resets over and over is seen, and one reset is none of that", () => {
  const { signs, reset } = guest();
  const signal = watch(signs);
  reset();
  expect(signal.aborted).toBe(false);
  reset();
  reset();
  expect(signal.reason).toMatchObject({ why: "resets over and over: 3 times so far" });
});

test("a console that cannot be read says nothing", async () => {
  let asked = 0;
  const signal = watch({
    readConsole: async () => {
      asked += 1;
      return await Promise.reject(new Error("away"));
    },
    onReset: () => () => undefined,
  });
  await expect.poll(() => asked, { timeout: 10_000 }).toBeGreaterThan(1);
  expect(signal.aborted).toBe(false);
});
