import { expect, test } from "vitest";

import { startDaemon } from "../daemon/testing/daemon-of-test.ts";

test("a backend without templates has none, and says so to who wants one", async () => {
  const api = await startDaemon();
  expect((await api.call("GET", "/templates")).json).toEqual([]);
  expect((await api.call("POST", "/templates/prune")).json).toEqual({ removed: [] });
  expect(await api.call("POST", "/templates", {})).toMatchObject({
    status: 422,
    json: { code: "unsupported", details: { able: [] } },
  });
});

test.each([
  ["0123456789abcdef", 404, "template_not_found"],
  ["012", 400, "invalid_argument"],
  ["..%2Fx", 400, "invalid_argument"],
  ["ABCDEF", 400, "invalid_argument"],
])("a key that is none: %s", async (key, status, code) => {
  const api = await startDaemon();
  expect(await api.call("DELETE", `/templates/${key}`)).toMatchObject({ status, json: { code } });
});

test("what a template cannot be is refused with the field's name", async () => {
  const api = await startDaemon();
  const refused = await api.call("POST", "/templates", { mounts: [] });
  expect(refused).toMatchObject({ status: 400, json: { code: "invalid_argument" } });
  const backend = await api.call("POST", "/templates", { backend_type: "qemu" });
  expect(backend.json).toMatchObject({ code: "invalid_argument", details: { field: "backend_type" } });
});
