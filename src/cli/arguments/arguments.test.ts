import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";

import { InvalidArgumentError } from "../../errors/index.ts";
import { parseDuration } from "./quantity.ts";
import { parseImage, parseImageSource } from "./image.ts";
import { parseKeyValue } from "./repeated.ts";
import { parseMount } from "./mount.ts";
import { parsePublishedPort } from "./port.ts";
import { parseCopySide } from "./sandbox-path.ts";

describe("durations", () => {
  test.each([
    ["30s", 30_000],
    ["5m", 300_000],
    ["1h30m", 5_400_000],
    ["500ms", 500],
    ["1.5s", 1500],
    ["2d", 172_800_000],
    ["90", 90_000],
  ])("%s is %d ms", (text, expected) => expect(parseDuration(text)).toBe(expected));

  test.each(["", "soon", "5x", "-5s", "0s", "5s!", "s5", "1h 30m"])("%j is refused with examples", (text) => {
    expect(() => parseDuration(text, "--ttl")).toThrow(InvalidArgumentError);
    expect(() => parseDuration(text, "--ttl")).toThrow(/--ttl: .* is not a duration/);
  });
});

const hostPathOf = (text: string): string => parseMount(`${text}:/workspace`).hostPath;

describe("mounts", () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test("a relative host folder is taken from here, and is writable unless it says ro", () => {
    vi.stubEnv("PWD", process.cwd());
    expect(parseMount("./src:/workspace")).toEqual({
      hostPath: resolve("src"),
      sandboxPath: "/workspace",
      readOnly: false,
    });
    expect(parseMount("/data:/data:ro").readOnly).toBe(true);
    expect(parseMount("/data:/data:rw").readOnly).toBe(false);
  });

  test("the links on the way are left to the daemon, those to the current folder, too", async () => {
    const folder = await mkdtemp(join(tmpdir(), "hv-pwd-"));
    onTestFinished(async () => await rm(folder, { recursive: true }));
    const link = join(folder, "link");
    await symlink(process.cwd(), link);
    vi.stubEnv("PWD", link);
    expect(hostPathOf(".")).toBe(link);
    expect(hostPathOf("./src/")).toBe(join(link, "src"));
    expect(hostPathOf("../other")).toBe(`${link}/../other`);
    const unreadable = join(folder, "loop");
    await symlink(unreadable, unreadable);
    for (const untrue of ["/", "relative", `${folder}/missing`, unreadable]) {
      vi.stubEnv("PWD", untrue);
      expect(hostPathOf("./src")).toBe(resolve("src"));
    }
  });

  test.each(["", "/data", "/data:", ":/data", "/data:relative", "/data:/data:rx", "/a:/b:ro:ro"])(
    "%j is refused",
    (text) => expect(() => parseMount(text)).toThrow(/is not HOST:GUEST/),
  );
});

describe("ports", () => {
  test("one port, or host and guest", () => {
    expect(parsePublishedPort("80")).toBe(80);
    expect(parsePublishedPort("8080:80")).toEqual({ hostPort: 8080, guestPort: 80 });
  });

  test.each(["", "0", "65536", "http", "80:", ":80", "1:2:3", "-1", "8 0"])("%j is refused", (text) => {
    expect(() => parsePublishedPort(text)).toThrow(/is not a port/);
  });
});

describe("pairs", () => {
  test("the value may be empty and may hold an equals sign", () => {
    expect(parseKeyValue("a=")).toEqual(["a", ""]);
    expect(parseKeyValue("a=b=c")).toEqual(["a", "b=c"]);
  });

  test.each(["", "a", "=b"])("%j is refused", (text) =>
    expect(() => parseKeyValue(text)).toThrow(/KEY=VALUE/),
  );
});

describe("images", () => {
  test("names and URLs stay, paths become absolute", () => {
    expect(parseImage("debian:12")).toBe("debian:12");
    expect(parseImage("https://example.org/a.qcow2")).toBe("https://example.org/a.qcow2");
    expect(parseImage("./a.qcow2")).toBe(resolve("a.qcow2"));
    expect(parseImage("a.qcow2")).toBe(resolve("a.qcow2"));
    expect(parseImage("/a.qcow2")).toBe("/a.qcow2");
    expect(parseImageSource("disk")).toBe(resolve("disk"));
    expect(parseImageSource("file:///disk")).toBe("file:///disk");
  });
});

describe("sides of a copy", () => {
  test.each([
    ["web:/etc/hosts", { kind: "sandbox", reference: "web", path: "/etc/hosts" }],
    ["sb-0123abcd:", { kind: "sandbox", reference: "sb-0123abcd", path: "" }],
    ["web:a:b", { kind: "sandbox", reference: "web", path: "a:b" }],
    ["./web:a", { kind: "local", path: "./web:a" }],
    ["/a:b", { kind: "local", path: "/a:b" }],
    ["a/b:c", { kind: "local", path: "a/b:c" }],
    ["..", { kind: "local", path: ".." }],
    ["-", { kind: "stream" }],
  ])("%s", (text, expected) => expect(parseCopySide(text)).toEqual(expected));

  test("an empty one is refused", () => expect(() => parseCopySide("")).toThrow(/is not a path/));
});
