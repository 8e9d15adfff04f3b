import { expect, test } from "vitest";

import { startScript, systemdUnit } from "./guest-service.ts";

test("the agent's end is not the end of what it has started, and the next agent is told of that", () => {
  expect(systemdUnit).toMatch(/^KillMode=process$/mu);
  expect(startScript).toMatch(/ --journal \/run\/\S+$/mu);
});
