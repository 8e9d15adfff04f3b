import { join } from "node:path";
import { readdir } from "node:fs/promises";
import { expect, test } from "vitest";

import { parseSharedName } from "../../../src/backends/libvirt/names.ts";
import type { TestHost } from "../../fixtures/host.ts";
import { stampAnew, templateIn } from "../../fixtures/kept-template.ts";
import { poolFolder } from "../../fixtures/prepared-disk.ts";
import { otherStateFolder, succeed } from "./subject.ts";

/** A template out of which no machine comes, and nothing that can be looked at tells. */
export function brokenTemplateSuite(host: () => TestHost): void {
  test("a template whose clones do not start is thrown away; the sandbox boots, and says why", async () => {
    const kind = ["--image", "debian:12", "--type", "python"];
    await using other = await otherStateFolder(host());
    const { stdout: built } = await other.heyvm("templates", "build", ...kind);
    const key = built.trim();
    await emptyMemory(key);
    const made = await other.heyvm("create", ...kind, "--name", "boots");
    expect({ code: made.code, stderr: made.stderr }).toEqual({
      code: 0,
      stderr: expect.stringContaining("it boots: a clone of its template did not start"),
    });
    const { stdout } = await other.heyvm("get", "boots", "--format", "json");
    expect(JSON.parse(stdout)).toMatchObject({
      start_mode: "booted",
      start_reason: expect.stringMatching(/^a clone of its template did not start: ./),
    });
    // One serves both types; what was run before may have had it made for the other.
    expect((await other.heyvm("doctor")).stdout).toMatch(/debian:12 for (python|shell), 1 CPU, 1 GiB until /);
    expect(await succeed(host(), "templates", "list", "--format", "json")).not.toContain(key);
    expect(await readdir(pool())).not.toContain(`template-${key}.json`);
  });

  const pool = () => join(host().paths.home, poolFolder);

  async function emptyMemory(key: string): Promise<void> {
    const names = await readdir(pool());
    const memory = names.find((name) => parseSharedName(name)?.key === key && name.endsWith(".ram")) ?? "";
    const script = `cd ${pool()}; size=$(stat -c %s ${memory}); truncate -s 0 ${memory}; truncate -s $size ${memory}`;
    expect(await host().run(["sh", "-ec", script])).toMatchObject({ code: 0, stderr: "" });
    await stampAnew(pool(), await templateIn(pool(), key));
  }
}
