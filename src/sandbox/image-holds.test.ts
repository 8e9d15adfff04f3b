import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";

import type { StoredImage } from "../images/index.ts";
import { createImageHolds } from "./image-holds.ts";

const { signal } = new AbortController();
const context = { signal, onStep: () => undefined };
const image: StoredImage = {
  name: "debian:12",
  reference: "debian:12",
  path: "/images/debian.qcow2",
  format: "qcow2",
  sizeBytes: 4096,
  virtualSizeBytes: 2 ** 31,
  verified: true,
  fingerprint: "sha256:aa",
  architecture: "x86_64",
};

/** Images of which each resolve answers the next version. */
function setUp() {
  let resolved = 0;
  const holds = createImageHolds({
    resolve: async () => {
      resolved += 1;
      const fingerprint = `sha256:${resolved}`;
      await turn();
      return { ...image, fingerprint };
    },
  });
  return { holds, resolved: () => resolved };
}

test("a removal is told what is taken, until that is released, each as often as it was taken", async () => {
  const holds = createImageHolds({ resolve: async () => await Promise.resolve(image) });
  const held = async () => await holds.whileRemoving(signal, async (found) => await Promise.resolve(found));
  expect(await held()).toEqual([]);
  {
    using _first = await holds.take("debian:12", context);
    {
      using _second = await holds.take("debian:12", context);
    }
    expect(await held()).toEqual([image.fingerprint]);
  }
  expect(await held()).toEqual([]);
});

test("what is found while images are removed is taken afterwards, and looked for again", async () => {
  const { holds, resolved } = setUp();
  const order: string[] = [];
  const removal = holds.whileRemoving(signal, async (held) => {
    for (let turns = 0; turns < 5; turns++) await turn();
    order.push("removed");
    return held;
  });
  using taken = await holds.take("debian:12", context);
  order.push("taken");
  expect(await removal).toEqual([]);
  expect(order).toEqual(["removed", "taken"]);
  expect(resolved()).toBe(2);
  expect(taken.image.fingerprint).toBe("sha256:2");
});

test("what was found before images were removed, and not taken yet, is looked for again", async () => {
  const { holds, resolved } = setUp();
  const taking = holds.take("debian:12", context);
  expect(await holds.whileRemoving(signal, async (held) => await Promise.resolve(held))).toEqual([]);
  using taken = await taking;
  expect(resolved()).toBe(2);
  expect(taken.image.fingerprint).toBe("sha256:2");
});

test("a removal that fails keeps nobody from taking an image", async () => {
  const { holds } = setUp();
  await expect(
    holds.whileRemoving(signal, async () => await Promise.reject(new Error("planted"))),
  ).rejects.toThrow("planted");
  using taken = await holds.take("debian:12", context);
  expect(taken.image.reference).toBe("debian:12");
});
