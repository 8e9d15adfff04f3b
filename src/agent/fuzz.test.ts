import { describe, expect, test } from "vitest";

import { fuzzAgent, fuzzHost } from "./testing/fuzz.ts";
import { startLocalAgent } from "./testing/local-agent.ts";

const seeds = Array.from({ length: 40 }, (_, at) => at + 1);

describe("random lies", () => {
  test("of an agent leave the host with typed errors only", async () => {
    for (const seed of seeds) await expect(fuzzHost(seed)).resolves.toBeUndefined();
  });

  test("of a host leave the agent healthy for the next, in the memory it had", async () => {
    await using agent = startLocalAgent();
    await (await agent.connect()).close();
    await fuzzAgent(agent, 0);
    const before = agent.residentBytes();
    for (const seed of seeds) await expect(fuzzAgent(agent, seed)).resolves.toBeUndefined();
    expect(agent.residentBytes() - before).toBeLessThan(20_000_000);
  });
});
