import { expect, test } from "vitest";
import { type Census, expectSame, takeSettledCensus } from "./census.ts";

const nothing: Census = { files: [], sockets: [], processes: [], mounts: [], domains: [], volumes: [] };

test("a census with something more or less names each of them", () => {
  const before = { ...nothing, files: ["data/kept", "data/gone"] };
  const after = { ...nothing, files: ["data/kept", "data/new"], domains: ["heyvm-sb-00000001"] };
  expect(() => {
    expectSame(before, after);
  }).toThrow("  + files: data/new\n  - files: data/gone\n  + domains: heyvm-sb-00000001");
});

test("a second process with the same command line is one more", () => {
  const before = { ...nothing, processes: ["sleep 1"] };
  expect(() => {
    expectSame(before, { ...nothing, processes: ["sleep 1", "sleep 1"] });
  }).toThrow("+ processes: sleep 1");
});

test("prepared disks and downloads are permitted, half a download and an overlay are not", () => {
  const images = "home/.local/share/libvirt/images";
  const shared = [
    `${images}/debian-12-generic-amd64.qcow2`,
    `${images}/heyvm/prepared-0123456789abcdef-01234567.qcow2`,
    `${images}/heyvm/prepared-0123456789abcdef.json`,
  ];
  expect(() => {
    expectSame(nothing, { ...nothing, files: shared });
  }).not.toThrow();
  for (const left of [`${images}/debian.qcow2.part`, `${images}/heyvm/sb-00000001.qcow2`]) {
    expect(() => {
      expectSame(nothing, { ...nothing, files: [left] });
    }).toThrow(left);
  }
});

test("what libvirt is about to forget is waited for, and what it keeps is not", async () => {
  const domains = ["heyvm-sb-0000000a", "heyvm-sb-0000000b", "other"];
  let asked = 0;
  const virsh = async ([verb]: readonly string[]): Promise<string> => {
    if (verb === "pool-list") return "heyvm\n";
    if (verb === "vol-list") return " Name  Path\n------\n sb-0000000a.qcow2   /pool/sb-0000000a.qcow2\n";
    asked += 1;
    return await Promise.resolve(domains.filter((name) => asked < 4 || !name.endsWith("b")).join("\n"));
  };
  const census = await takeSettledCensus({ folders: {}, processRoots: [], virsh });
  expect(census.domains).toEqual(["heyvm-sb-0000000a", "other"]);
  expect(asked, "and once more, after it has forgotten").toBe(5);
});
