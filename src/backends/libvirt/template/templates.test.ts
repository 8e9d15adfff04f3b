import { afterEach, beforeEach, expect, test } from "vitest";

import { HeyvmError } from "../../../errors/index.ts";
import { type ImaginedTemplates, imagineTemplates } from "../testing/imagined-templates.ts";
import { CloningRefusedError } from "./obstacle.ts";

const GiB = 1024 ** 3;

let our: ImaginedTemplates;
beforeEach(async () => {
  our = await imagineTemplates();
});
afterEach(async () => {
  await our[Symbol.asyncDispose]();
});

test("the first sandbox of the usual size waits for the template, once, and the next finds it", async () => {
  expect(await Promise.all([our.asked(1), our.asked(1)])).toEqual(["clone", "clone"]);
  expect(await our.asked(1)).toBe("clone");
  expect(our.frozen).toEqual(["1 cpu"]);
});

test("two daemons of one user make it once, and the one that waits sees how far the other is", async () => {
  const seen = new Set<string>();
  our.freezing = async (onStep) => {
    onStep({ id: "boot", title: "booting", state: "started" });
    // Until the other one has seen it.
    await expect.poll(() => seen.size).toBe(1);
  };
  const first = our.asked(1);
  await expect.poll(() => our.frozen).toHaveLength(1);
  const of = our.other();
  const second = our.asked(1, GiB, { of, onStep: ({ title }) => void seen.add(title) });
  expect(await Promise.all([first, second])).toEqual(["clone", "clone"]);
  expect({ frozen: our.frozen, seen: [...seen] }).toEqual({ frozen: ["1 cpu"], seen: ["booting"] });
  await of.close();
});

test("a budget of 0 turns templates off, and the reason names the setting", async () => {
  await our.restart({ budgetBytes: 0 });
  expect(await our.asked(1)).toMatch(/^boots: templates are turned off.*templates\.budget/);
});

test("the first larger one boots while a template is made that all larger ones grow out of", async () => {
  expect(await our.asked(2)).toBe("boots: the template of larger sandboxes is being made");
  await our.untilMade(1);
  expect(await our.asked(2)).toBe("clone, 1 cpus more");
  expect(await our.asked(4, 2 * GiB)).toBe("clone, 3 cpus more");
  expect(our.frozen).toEqual(["1 cpu with room"]);
});

test("a larger size that is asked for often gets a template of its own, behind", async () => {
  await our.asked(2);
  await our.untilMade(1);
  for (let times = 2; times <= 5; times += 1) expect(await our.asked(2)).toBe("clone, 1 cpus more");
  await our.untilMade(2);
  expect(await our.asked(2)).toBe("clone");
  expect(our.frozen).toEqual(["1 cpu with room", "2 cpus"]);
});

test("one whose own template fails goes on growing", async () => {
  await our.asked(2);
  await our.untilMade(1);
  for (let times = 2; times <= 4; times += 1) await our.asked(2);
  our.failure = new Error("no");
  await our.asked(2);
  await expect.poll(() => our.frozen).toHaveLength(2);
  for (let times = 6; times <= 8; times += 1) expect(await our.asked(2)).toBe("clone, 1 cpus more");
  expect(our.frozen).toEqual(["1 cpu with room", "2 cpus"]);
});

test("a size that nothing grows to is cloned from the third time on, and nobody waits for it", async () => {
  expect(await our.asked(1, GiB / 2)).toBe("boots: no sandbox had this size before");
  expect(await our.asked(1, GiB / 2)).toBe("boots: its template is being made");
  await our.untilMade(1);
  expect(await our.asked(1, GiB / 2)).toBe("clone");
});

test("where the template cannot be made, machines boot and say why, for a while; who asks for it is told", async () => {
  our.failure = new Error("the guest never rests");
  expect(await our.asked(1)).toBe("boots: there is no template: the guest never rests");
  expect(await our.asked(1)).toBe("boots: there is no template: the guest never rests");
  expect(our.frozen).toHaveLength(1);
  our.failure = new Error("still not");
  await expect(our.asked(1, GiB, { now: true })).rejects.toThrow("still not");
  expect(await our.asked(1, GiB, { now: true })).toBe("clone");
});

test("no create fails because of a template: with a full disk or a silent guest the machine boots", async () => {
  for (const code of ["disk_full", "guest_unresponsive", "guest_failed"] as const) {
    our.failure = new HeyvmError(code, `no ${code}`);
    expect(await our.asked(1)).toBe(`boots: there is no template: no ${code}`);
    await expect(our.asked(1, GiB, { now: true })).resolves.toBe("clone");
    our.there.clear();
  }
});

test("without libvirt nothing boots, either, and that is no reason against the template", async () => {
  our.failure = new HeyvmError("backend_unavailable", "libvirt is away");
  await expect(our.asked(1)).rejects.toMatchObject({ code: "backend_unavailable" });
  expect(await our.asked(1)).toBe("clone");
});

test("no template is begun that may fill the disk; it is looked at again each time", async () => {
  our.freeBytes = GiB;
  expect(await our.asked(1)).toMatch(/^boots: there is no template: .* 1\.5 GiB.* \/pool has 1 GiB free$/);
  await expect(our.asked(1, GiB, { now: true })).rejects.toMatchObject({ code: "disk_full" });
  expect(our.frozen).toEqual([]);
  our.freeBytes = 2 * GiB;
  expect(await our.asked(1)).toBe("clone");
});

test("many who want a template that cannot be made count as one failure", async () => {
  our.failure = new Error("the guest never rests");
  await Promise.all([our.asked(1), our.asked(1), our.asked(1)]);
  const untilMs = Date.parse(/until (\S+):/.exec((await our.templates.doubts())[0] ?? "")?.[1] ?? "");
  expect(untilMs).toBeGreaterThan(Date.now());
  expect(untilMs).toBeLessThan(Date.now() + 31 * 60_000);
});

test("a larger one is told why the template of larger ones could not be made behind it", async () => {
  our.freeBytes = GiB;
  expect(await our.asked(2)).toBe("boots: the template of larger sandboxes is being made");
  await expect.poll(() => our.asked(3)).toMatch(/^boots: there is no template: a template may take 1\.5 GiB/);
  our.freeBytes = 2 * GiB;
  await our.asked(3);
  await our.untilMade(1);
  expect(await our.asked(3)).toBe("clone, 2 cpus more");
});

test("a QEMU that refuses what cloning needs is asked once", async () => {
  our.failure = new CloningRefusedError(new Error("Invalid parameter 'x-ignore-shared'"));
  expect(await our.asked(1)).toContain("x-ignore-shared");
  expect(await our.asked(2)).toBe("boots: QEMU refuses the capability x-ignore-shared, which cloning needs");
  expect(our.frozen).toHaveLength(1);
});
