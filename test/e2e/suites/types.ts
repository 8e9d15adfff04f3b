import { describe, expect, test } from "vitest";

import { inGuest, type Subject } from "./subject.ts";

export function pythonSuite(subject: () => Subject): void {
  test("python3, pip and venv work", async () => {
    const script = `cd /tmp && python3 -m venv env && env/bin/pip --version && env/bin/python -c 'print(6 * 7)'`;
    expect(await inGuest(subject(), script)).toMatch(/^pip .*\n42\n$/);
  });
}

export function nodeSuite(subject: () => Subject): void {
  describe("node", () => {
    test("node and npm work", async () => {
      const script = `mkdir -p /tmp/app/dep && cd /tmp/app && echo '{"name":"dep","version":"1.0.0"}' > dep/package.json
        echo 'module.exports = 6 * 7' > dep/index.js && echo '{}' > package.json
        npm install --offline --no-update-notifier --no-audit --no-fund ./dep >/dev/null && node -p 'require("dep")'`;
      expect(await inGuest(subject(), script)).toBe("42\n");
    });
  });
}
