import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { type ImaginedTemplates, imagineTemplates } from "../testing/imagined-templates.ts";

const GiB = 1024 ** 3;

let our: ImaginedTemplates;
beforeEach(async () => {
  our = await imagineTemplates();
});
afterEach(async () => {
  await our[Symbol.asyncDispose]();
});

describe("a template of which a clone did not start", () => {
  const kind = "debian:12 for shell, 1 CPU, 1 GiB";
  const unproven = { hadWorked: false };

  test("is thrown away when none has; such machines boot, also after the daemon's next start, until somebody has it made", async () => {
    const template = await our.made();
    expect(our.templates.isProven(template)).toBe(false);
    const failures = ["silent", "too"].map((reason) =>
      our.templates.reportFailure(template, reason, unproven),
    );
    await Promise.all(failures);
    expect(our.there.size).toBe(0);
    expect(await our.asked(1)).toBe("boots: silent");
    expect(await our.templates.doubts()).toEqual([expect.stringMatching(`^${kind} until .*: silent$`)]);
    await our.restart();
    expect(await our.asked(1)).toBe("boots: silent");
    expect(our.frozen).toHaveLength(1);
    expect(await our.asked(1, GiB, { now: true })).toBe("clone");
    expect(await our.asked(1)).toBe("clone");
    expect(await our.templates.doubts()).toEqual([]);
  });

  test("gets another try when one has worked, also when several of one moment come to nothing", async () => {
    const template = await our.made();
    await our.templates.reportSuccess(template);
    const worked = { hadWorked: true };
    await Promise.all([1, 2, 3].map(() => our.templates.reportFailure(template, "no memory", worked)));
    expect(await our.asked(1)).toBe("clone");
    expect(our.templates.isProven(template)).toBe(false);
    await our.templates.reportFailure(template, "no memory", unproven);
    expect(await our.asked(1)).toBe("boots: no memory");
  });

  test("is made again when another of the same moment has worked after all", async () => {
    const template = await our.made();
    await our.templates.reportFailure(template, "silent", unproven);
    await our.templates.reportSuccess(template);
    expect(await our.asked(1)).toBe("clone");
    expect(our.frozen).toHaveLength(2);
  });

  test("and is damaged is made again", async () => {
    our.damage = "its memory was changed";
    await our.templates.reportFailure(await our.made(), "silent", unproven);
    expect(await our.asked(1)).toBe("clone");
    expect(await our.templates.doubts()).toEqual([]);
  });

  test("and cannot be removed now is doubted all the same, and removed when it fails again", async () => {
    const template = await our.made();
    our.isBusy = true;
    await our.templates.reportFailure(template, "silent", unproven);
    expect(our.there.size).toBe(1);
    expect(await our.asked(1)).toBe("boots: silent");
    our.isBusy = false;
    await our.templates.reportFailure(template, "silent again", unproven);
    expect(our.there.size).toBe(0);
  });

  test("and of which larger ones are made is told of as such; whoever has one made lifts that, too", async () => {
    await our.asked(2);
    await our.untilMade(1);
    const { template } = await our.ask(2);
    if (template === undefined) throw new Error("there is no template");
    await our.templates.reportFailure(template, "silent", unproven);
    expect(await our.templates.doubts()).toEqual([
      expect.stringContaining("debian:12 for shell, larger than 1 CPU, 1 GiB until "),
    ]);
    expect(await our.asked(3)).toBe("boots: silent");
    expect(await our.asked(2, GiB, { now: true })).toBe("clone");
    expect(await our.asked(4)).toBe("boots: the template of larger sandboxes is being made");
  });
});
