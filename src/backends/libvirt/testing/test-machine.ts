/** A machine for tests of the backend that need one of no special kind. */
import type { MachineSpec } from "../../backend.ts";

export const testMachine: MachineSpec = {
  id: "sb-0000000a",
  name: "test",
  type: "shell",
  image: {
    reference: "debian:12",
    path: "/images/debian.qcow2",
    format: "qcow2",
    virtualSizeBytes: 3 * 1024 ** 3,
    fingerprint: "sha256:aa",
    architecture: "aarch64",
  },
  cpus: 1,
  memoryBytes: 1024 ** 3,
  diskBytes: undefined,
  mounts: [],
  network: false,
};
