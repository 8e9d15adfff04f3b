import { expect, test } from "vitest";

import type { AgentSession } from "../agent/types.ts";
import { createSessionHolder } from "./sessions.ts";

/** Only what a holder uses of a session. */
function fakeSession(): AgentSession & { lose(): void } {
  let end: ((reason: Error | undefined) => void) | undefined;
  const closed = new Promise<Error | undefined>((resolve) => (end = resolve));
  const session: Pick<AgentSession, "closed" | "close"> & { lose(): void } = {
    closed,
    close: async () => await Promise.resolve(end?.(undefined)),
    lose: () => end?.(new Error("lost")),
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a holder touches nothing else
  return session as AgentSession & { lose(): void };
}

const never = new AbortController().signal;

test("all who ask share one session, and one that was lost is connected anew", async () => {
  const made: ReturnType<typeof fakeSession>[] = [];
  const holder = createSessionHolder(async () => {
    made.push(fakeSession());
    return await Promise.resolve(made.at(-1) ?? fakeSession());
  });
  const [first, second] = await Promise.all([holder.get(never), holder.get(never)]);
  expect(first).toBe(second);
  expect(holder.current()).toBe(first);
  made[0]?.lose();
  await expect.poll(() => holder.current()).toBe(undefined);
  expect(await holder.get(never)).toBe(made[1]);
});

test("one who gives up does not end the connecting that others wait for", async () => {
  let connected: ((session: AgentSession) => void) | undefined;
  const holder = createSessionHolder(
    async () => await new Promise<AgentSession>((resolve) => (connected = resolve)),
  );
  const impatient = new AbortController();
  const first = holder.get(impatient.signal);
  const second = holder.get(never);
  impatient.abort();
  await expect(first).rejects.toMatchObject({ code: "aborted" });
  const session = fakeSession();
  connected?.(session);
  expect(await second).toBe(session);
});

test("a failure to connect is tried again by the next who asks", async () => {
  let attempts = 0;
  const holder = createSessionHolder(async () => {
    attempts += 1;
    if (attempts === 1) throw new Error("not yet");
    return await Promise.resolve(fakeSession());
  });
  await expect(holder.get(never)).rejects.toThrow("not yet");
  await expect(holder.get(never)).resolves.toBeDefined();
});

test("closing ends a connecting that is under way", async () => {
  const holder = createSessionHolder(
    async (signal) =>
      await new Promise<AgentSession>((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(new Error("given up")), { once: true });
      }),
  );
  const outcome = holder.get(never).catch((error: unknown) => String(error));
  await holder.close();
  expect(await outcome).toBe("Error: given up");
});

test("whoever waits for the connecting is told why it ended", async () => {
  const holder = createSessionHolder(
    async (signal) =>
      await new Promise<AgentSession>((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      }),
  );
  for (const end of ["close", "end"] as const) {
    const outcome = holder.get(never).catch((error: unknown) => String(error));
    await holder[end](new Error("it was stopped"));
    expect(await outcome).toBe("Error: it was stopped");
  }
});

test("after its end nobody connects any more", async () => {
  let attempts = 0;
  const holder = createSessionHolder(async () => {
    attempts += 1;
    return await Promise.resolve(fakeSession());
  });
  const session = await holder.get(never);
  await holder.end(new Error("it is being removed"));
  await session.closed;
  await expect(holder.get(never)).rejects.toThrow("it is being removed");
  expect({ attempts, current: holder.current() }).toEqual({ attempts: 1, current: undefined });
});
