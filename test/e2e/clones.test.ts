/** What clones and their templates promise, beyond what every sandbox does. */
import { afterAll, beforeAll, expect, test } from "vitest";

import { guestImage } from "../fixtures/guest-image.ts";
import { createTestHost, type TestHost } from "../fixtures/host.ts";
import { useTemplate } from "../fixtures/kept-template.ts";
import { usePreparedDisk } from "../fixtures/prepared-disk.ts";
import { debianFiles, type Publisher, startPublisher } from "../fixtures/publisher.ts";
import { benchSuite } from "./suites/benches.ts";
import { brokenTemplateSuite } from "./suites/broken-template.ts";
import { cloneSuite } from "./suites/clones.ts";
import { lyingAgentSuite } from "./suites/lies.ts";
import { shellSuite } from "./suites/shells.ts";
import { expectFailure, succeed } from "./suites/subject.ts";

let publisher: Publisher;
let host: TestHost;
beforeAll(async () => {
  publisher = await startPublisher({ files: await debianFiles(await guestImage()) });
  host = await createTestHost({ env: { HEYVM_MIRROR_DEBIAN: publisher.url } });
  await succeed(host, "pull", "debian:12");
  await usePreparedDisk(host);
  await useTemplate(host);
});
afterAll(async () => {
  await host[Symbol.asyncDispose]();
  await publisher[Symbol.asyncDispose]();
});

cloneSuite(() => host);
lyingAgentSuite(() => host);
shellSuite(() => host);
benchSuite(() => host);
// The last of those that need the template.
brokenTemplateSuite(() => host);

test("templates that no sandbox stands on go when they are asked to", async () => {
  const [template] = JSON.parse(await succeed(host, "templates", "list", "--format", "json"));
  expect(await succeed(host, "templates", "rm", "--yes", template.key)).toBe(`removed ${template.key}\n`);
  await expectFailure(host, ["templates", "rm", "--yes", template.key], 3, "there is no template");
  await succeed(host, "templates", "prune");
  expect(await succeed(host, "templates", "list", "--format", "json")).toBe("[]\n");
  const left = await host.run(["sh", "-c", "ls ~/.local/share/libvirt/images/heyvm | grep ^template-"]);
  expect(left.stdout).toBe("");
});
