import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test } from "vitest";

import { type LoadedSettings, loadSettings } from "./settings.ts";

async function load(
  file: string | undefined,
  env: NodeJS.ProcessEnv = {},
  flags = {},
): Promise<LoadedSettings & { path: string }> {
  const folder = await mkdtemp(join(tmpdir(), "hv-settings-"));
  const path = join(folder, "settings.json");
  try {
    if (file !== undefined) await writeFile(path, file);
    return { ...(await loadSettings({ path, env, flags })), path };
  } finally {
    await rm(folder, { recursive: true });
  }
}

test("without any source, every setting has its default", async () => {
  const { values, entries } = await load(undefined);
  expect(values).toMatchObject({ backend_type: "libvirt", image: "ubuntu:24.04", cpus: 1, memory: 2 ** 30 });
  expect(values["libvirt.uri"]).toBe("qemu:///session");
  expect(new Set(entries.map(({ source }) => source))).toEqual(new Set(["default"]));
});

test("a flag beats the environment, which beats the file, and each tells where it came from", async () => {
  const file = `{\n  "cpus": 2,\n  "memory": "2G",\n  "libvirt": {\n    "uri": "qemu:///system"\n  }\n}`;
  const { values, entries, path } = await load(file, { HEYVM_MEMORY: "3G", HEYVM_CPUS: "3" }, { cpus: "4" });
  expect(values).toMatchObject({ cpus: 4, memory: 3 * 2 ** 30, "libvirt.uri": "qemu:///system" });
  const origins = Object.fromEntries(entries.map(({ key, source, origin }) => [key, [source, origin]]));
  expect(origins).toMatchObject({
    cpus: ["flag", "--cpus"],
    memory: ["environment", "HEYVM_MEMORY"],
    "libvirt.uri": ["file", `${path}:5`],
    image: ["default", undefined],
  });
});

test("the known environment names are read", async () => {
  const { values } = await load(undefined, {
    MVM_BACKENDS: "libvirt,bubblewrap",
    HEYVM_MIRROR_DEBIAN: "http://127.0.0.1:8080/debian",
    HEYVM_SOCKET: "/run/user/1/x.sock",
    HEYVM_TTL_SECONDS: "none",
    HEYVM_IMAGE_FOLDERS: "/a:/b",
  });
  expect(values).toMatchObject({
    backends: ["libvirt", "bubblewrap"],
    "mirrors.debian": "http://127.0.0.1:8080/debian",
    socket: "/run/user/1/x.sock",
    ttl_seconds: null,
    image_folders: ["/a", "/b"],
  });
});

test.each([
  ["an unknown key", '{\n "cpus": 1,\n "imagee": "x"\n}', ":3", '"imagee"', 'did you mean "image"?'],
  [
    "an unknown key in a group",
    '{"libvirt": {\n "url": "x"}}',
    ":2",
    '"libvirt.url"',
    'did you mean "libvirt.uri"?',
  ],
  ["a wrong type", '{\n\n "cpus": "2"}', ":3", "cpus", undefined],
  ["a number where a folder list belongs", '{"image_folders": 3}', ":1", "image_folders", undefined],
  [
    "a group that is no object",
    '{\n"api": 3000}',
    ":2",
    '"api"',
    "it holds api.host, api.port, api.tls_cert, api.tls_key",
  ],
  ["a backend that does not exist", '{"backend_type": "docker"}', ":1", "backend_type", undefined],
  ["broken JSON", '{\n "cpus": 1,,\n}', ":2", "JSON", undefined],
  ["an array", "[]", ":1", "object", undefined],
])("%s is an error with key, file and line", async (_what, file, line, key, hint) => {
  const failure = load(file);
  await expect(failure).rejects.toMatchObject({
    code: "settings_invalid",
    message: expect.stringContaining(`settings.json${line}`),
    ...(hint !== undefined && { hint }),
  });
  await expect(failure).rejects.toThrow(key);
});

test("a wrong value in the environment names the variable", async () => {
  await expect(load(undefined, { HEYVM_CPUS: "many" })).rejects.toThrow(/cpus \(HEYVM_CPUS\) is "many"/);
});

test("a file may have comments, and a comma after the last entry", async () => {
  const file = '// ours\n{\n  "cpus": 2, /* was 1 */\n  "libvirt": {"uri": "qemu:///system",},\n}\n';
  const { values, entries } = await load(file);
  expect({ cpus: values.cpus, uri: values["libvirt.uri"] }).toEqual({ cpus: 2, uri: "qemu:///system" });
  expect(entries.find(({ key }) => key === "libvirt.uri")?.origin).toMatch(/:4$/);
});

test("an empty file is no settings", async () => {
  expect((await load("")).values.cpus).toBe(1);
});
